DATE=$(date -Iseconds) KEY=$(echo -n "$DATE$ROUTE$KEY_SECRET" | shasum -a 512 | head -c 128)
