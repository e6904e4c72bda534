"""Apache Airflow provider for five messaging services.

Go Integrate Me, LiquidFiles, MDI g8teway, SerwerSMS.pl and SendHub.
"""

__version__ = "0.1.0"
