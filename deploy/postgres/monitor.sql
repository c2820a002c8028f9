-- The role of postgres_exporter: it sees the server's own figures (pg_monitor) and no row of any service's table. Run as the administrator,
-- in our database, and again where the password changes:
--   MONITOR_DATABASE_PASSWORD=… psql "$DATABASE_URL" --set=ON_ERROR_STOP=1 --file=deploy/postgres/monitor.sql
\getenv password MONITOR_DATABASE_PASSWORD
SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'closedloop_monitor') AS missing \gset
\if :missing
  CREATE ROLE closedloop_monitor;
\endif
-- few connections: where it hangs it must not take those of the services
ALTER ROLE closedloop_monitor LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE CONNECTION LIMIT 5 PASSWORD :'password';
ALTER ROLE closedloop_monitor SET statement_timeout = '10s';
GRANT pg_monitor TO closedloop_monitor;
SELECT current_database() AS database \gset
GRANT CONNECT ON DATABASE :"database" TO closedloop_monitor;
