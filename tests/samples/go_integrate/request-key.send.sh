DATE=$(date -Iseconds) FILE_MD5=$(md5sum "$1" | head -c 32) KEY=$(echo -n "$DATE$ROUTE$2$ID$FILE_MD5$KEY_SECRET" | shasum -a 512 | head -c 128)
