#!/bin/sh
# The hosts' role in a new database of docker-compose.yml. The owner's is POSTGRES_USER; what each may do: docs/deploy.md.
# In a volume of a release before: docker compose exec postgres sh /docker-entrypoint-initdb.d/roles.sh
set -eu
psql -v ON_ERROR_STOP=1 -v "password=$COWORK_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
CREATE ROLE cowork_host LOGIN PASSWORD :'password';
GRANT SET ON PARAMETER session_replication_role TO cowork_host;
SQL
