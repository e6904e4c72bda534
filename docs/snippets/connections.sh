# [START json]
export AIRFLOW_CONN_GO_INTEGRATE_DEFAULT='{"conn_type": "go_integrate", "login": "abcd@abcdef01", "password": "KEY-SECRET"}'
export AIRFLOW_CONN_LIQUIDFILES_DEFAULT='{"conn_type": "liquidfiles", "host": "https://files.example.com", "password": "API-KEY"}'
export AIRFLOW_CONN_MDI_DEFAULT='{"conn_type": "mdi", "login": "dispatcher", "password": "PASSWORD", "extra": {"client": "fleet", "channelid": 11}}'
export AIRFLOW_CONN_SERWERSMS_DEFAULT='{"conn_type": "serwersms", "login": "USER", "password": "PASSWORD", "extra": {"timezone": "Europe/Warsaw"}}'
export AIRFLOW_CONN_SENDHUB_DEFAULT='{"conn_type": "sendhub", "login": "USER", "password": "API-KEY", "extra": {"max_text": 1600}}'
# [END json]
# [START uri]
export AIRFLOW_CONN_GO_INTEGRATE_DEFAULT='go-integrate://abcd%40abcdef01:KEY-SECRET@'
export AIRFLOW_CONN_LIQUIDFILES_DEFAULT='liquidfiles://:API-KEY@files.example.com'
export AIRFLOW_CONN_MDI_DEFAULT='mdi://dispatcher:PASSWORD@?client=fleet&channelid=11'
export AIRFLOW_CONN_SERWERSMS_DEFAULT='serwersms://USER:PASSWORD@?timezone=Europe%2FWarsaw'
export AIRFLOW_CONN_SENDHUB_DEFAULT='sendhub://USER:API-KEY@?max_text=1600'
# [END uri]
