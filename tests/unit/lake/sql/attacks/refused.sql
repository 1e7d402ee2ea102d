-- One query a line, each more than reading the views `events`, `arrivals`, `delivery` and `files`. {data} is the data folder.
COPY (SELECT 1) TO '{data}/events/x.parquet'
COPY (SELECT 1) TO '{data}/out.csv'
COPY events TO '/tmp/metlog-out'
COPY (SELECT 1) TO STDOUT
COPY events FROM '/etc/passwd'
EXPORT DATABASE '{data}/events/x'
IMPORT DATABASE '{data}'
INSERT INTO events SELECT * FROM events
UPDATE events SET payload = ''
DELETE FROM events
TRUNCATE events
MERGE INTO events USING delivery ON true WHEN MATCHED THEN DELETE
ALTER TABLE events ADD COLUMN x INT
DROP VIEW events
CREATE TABLE t (a INT)
CREATE TEMP TABLE t AS SELECT 1
CREATE VIEW v AS SELECT 1
CREATE MACRO events() AS 1
CREATE SEQUENCE s
CREATE TYPE t AS ENUM ('a')
CREATE SECRET x (TYPE s3)
CREATE FUNCTION f(a) AS a
CREATE SCHEMA s
WITH x AS (INSERT INTO y VALUES (1) RETURNING *) SELECT * FROM x
SELECT * FROM (DELETE FROM events RETURNING *)
WITH x AS (DELETE FROM events RETURNING *) SELECT * FROM x
WITH x AS (UPDATE events SET payload = '' RETURNING 1) FROM x
SELECT * INTO x FROM events
SELECT * FROM events FOR UPDATE
ATTACH '{data}/x.db'
ATTACH '/tmp/x.db' AS x (READ_ONLY)
DETACH memory
USE memory
LOAD json
LOAD '/tmp/x.so'
INSTALL httpfs
FORCE INSTALL httpfs FROM 'http://127.0.0.1'
UPDATE EXTENSIONS
SET memory_limit = '1TB'
SET GLOBAL threads = 100
SET VARIABLE x = 1
RESET memory_limit
PRAGMA database_list
PRAGMA enable_profiling
CALL pragma_version()
CALL force_checkpoint()
CHECKPOINT
VACUUM
ANALYZE
BEGIN
COMMIT
PREPARE x AS SELECT 1
EXECUTE x
DEALLOCATE x
EXPLAIN SELECT 1
EXPLAIN ANALYZE SELECT 1
SHOW TABLES
SHOW ALL TABLES
SHOW events
COMMENT ON VIEW events IS 'x'
PIVOT events ON logger USING count(*)
SELECT 1; SELECT 2
SELECT 1; DROP VIEW events
SELECT 1;;DELETE FROM events
SELECT 1 /* ; */ ; COPY events TO '/tmp/x' --
;
--
/*
SELECT * FROM '{data}/secret.txt'
SELECT * FROM '{data}/events/**/*.parquet'
SELECT * FROM "{data}/journal/main/*"
FROM '/etc/passwd'
SELECT * FROM read_text('{data}/secret.txt')
SELECT * FROM read_blob('{data}/events/*/*')
SELECT * FROM read_csv('/etc/passwd')
SELECT * FROM read_csv_auto('/etc/passwd', sep = ':')
SELECT * FROM read_json('{data}/x')
SELECT * FROM read_parquet('{data}/events/*/*.parquet')
SELECT * FROM parquet_scan('{data}/events/*/*.parquet')
SELECT * FROM parquet_metadata('{data}/events/*/*.parquet')
SELECT * FROM parquet_kv_metadata('{data}/events/*/*')
SELECT * FROM parquet_bloom_probe('{data}/events/*/*', 'logger', 'bank')
SELECT * FROM read_duckdb('{data}/x')
SELECT * FROM glob('{data}/**')
SELECT * FROM sniff_csv('/etc/passwd')
SELECT (SELECT content FROM read_text('/etc/passwd'))
WITH x AS (SELECT * FROM read_blob('/etc/passwd')) SELECT * FROM x
SELECT * FROM events, LATERAL (SELECT * FROM read_text(payload))
SELECT * FROM events WHERE payload IN (SELECT content FROM read_text('/etc/passwd'))
SELECT * FROM query('SELECT 1')
SELECT * FROM query_table('events')
SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))
SELECT json_execute_serialized_sql('x')
SELECT getenv('PATH')
SELECT current_setting('secret_directory')
SELECT getvariable('x')
SELECT * FROM duckdb_settings()
SELECT * FROM duckdb_secrets()
SELECT * FROM duckdb_logs()
SELECT * FROM duckdb_views()
SELECT * FROM duckdb_views
SELECT * FROM information_schema.tables
SELECT * FROM pg_catalog.pg_class
SELECT * FROM sqlite_master
SELECT * FROM pragma_table_info('events')
SELECT write_log('x')
SELECT * FROM enable_logging()
SELECT main.upper('x')
SELECT system.main.getenv('PATH')
SELECT "getenv"('PATH')
SELECT GETENV('PATH')
SELECT 'PATH'.getenv()
SELECT list_transform(['PATH'], lambda x: getenv(x))
SELECT * FROM range(1) ORDER BY getenv('PATH')
SELECT count(*) FILTER (getenv('P') = '')
SELECT sum(1) OVER (PARTITION BY getenv('PATH'))
SELECT 1 LIMIT (SELECT length(getenv('PATH')))
SELECT {'a': getenv('PATH')}
SELECT CASE WHEN true THEN getenv('PATH') END
SELECT [getenv('PATH')]
VALUES (getenv('PATH'))
SELECT list_aggregate(['PATH'], 'getenv')
SELECT 1 UNION SELECT getenv('PATH')
WITH RECURSIVE r AS (SELECT 1 UNION ALL SELECT length(getenv('PATH')) FROM r) SELECT * FROM r
SELECT sum(1) OVER w FROM events WINDOW w AS (ORDER BY getenv('PATH'))
SELECT 1 GROUP BY GROUPING SETS ((getenv('PATH')))
SELECT * FROM generate_series(1, length(getenv('P')))
SELECT * REPLACE (getenv('PATH') AS payload) FROM events
SELECT DISTINCT ON (getenv('PATH')) 1
SELECT 1 QUALIFY getenv('PATH') = ''
SELECT * FROM events LIMIT 1 OFFSET length(getenv('P'))
SELECT COLUMNS(lambda c: c = getenv('PATH')) FROM events
SELECT nextval('s')
SELECT pg_sleep(1)
SELECT sleep_ms(1)
TABLE metlog_fresh
SELECT * FROM (TABLE metlog_loggers)
UNPIVOT events ON logger, type
SELECT * FROM (PIVOT events ON logger USING count(*))
FROM (DESCRIBE read_text('/etc/passwd'))
DESCRIBE SELECT * FROM read_text('/etc/passwd')
SUMMARIZE FROM '/etc/passwd'
SELECT * FROM read_ndjson_objects('/etc/passwd')
SELECT * FROM read_xlsx('/etc/passwd')
SELECT * FROM st_read('/etc/passwd')
SELECT * FROM sqlite_scan('/tmp/x', 'y')
SELECT * FROM postgres_scan('', '', '')
SELECT * FROM iceberg_scan('{data}')
SELECT * FROM delta_scan('{data}')
SELECT * FROM 'http://127.0.0.1:1/x.parquet'
SELECT * FROM 's3://x/y.parquet'
SELECT * FROM events AT (TIMESTAMP => now())
SELECT * FROM main.events
SELECT * FROM temp.main.events
SELECT * FROM memory.events
SELECT * FROM system.information_schema.columns
SELECT * FROM pragma_storage_info('events')
SELECT * FROM duckdb_temporary_files()
SELECT * FROM duckdb_memory()
SELECT * FROM test_all_types()
SELECT * FROM which_secret('s3://x', 's3')
SELECT * FROM system.main.read_text('/etc/passwd')
SELECT current_database()
SELECT * FROM range(1) t(x) WHERE (SELECT getenv('PATH')) = ''
SELECT list_filter([1], lambda x: getenv('PATH') = '')
SELECT map_from_entries([(getenv('PATH'), 1)])
SELECT 1 ORDER BY (SELECT getenv('PATH'))
SELECT [getenv('PATH') for x in [1]]
SELECT 1 FROM events JOIN events e ON getenv('PATH') = ''
SELECT list_aggregate(['/etc/passwd'], 'read_text')
SELECT aggregate([1], 'nextval')
SELECT variant_get(1, 'x')
WITH RECURSIVE r USING KEY (a) AS (SELECT 1 AS a, getenv('PATH') AS b UNION SELECT a, b FROM r) SELECT * FROM r
FROM query('FROM events')
FROM events |> SELECT getenv('PATH')
SELECT * FROM events MATCH_RECOGNIZE (PATTERN (a))
KILL 1
INSERT INTO FUNCTION x() SELECT 1
LOCK TABLE events
GRANT ALL ON events TO x
SELECT setseed(0.5)
SELECT txid_current()
