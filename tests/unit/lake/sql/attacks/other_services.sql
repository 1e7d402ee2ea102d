-- One query a line, asked by somebody who sees the service `shop` alone. Whatever each gives, nothing of `bank` may be in it.
SELECT * FROM events
SELECT * FROM events WHERE payload LIKE 'TOP%' OR logger = 'bank'
SELECT CAST(payload AS INT) FROM events WHERE payload LIKE 'TOP%'
SELECT error(payload) FROM events WHERE logger <> 'shop'
SELECT * FROM events WHERE CASE WHEN logger <> 'shop' THEN CAST(error(payload) AS BOOL) ELSE true END
SELECT CASE WHEN logger <> 'shop' THEN error(payload) END FROM events
SELECT CASE WHEN severity < 6 THEN error(hostname) END FROM events
SELECT count(*) FILTER (CASE WHEN logger <> 'shop' THEN CAST(error(payload) AS BOOL) END) FROM events
SELECT * FROM events WHERE CAST(payload AS INT) > 0
SELECT * FROM events WHERE CAST(fields->>'k' AS INT) > 0
SELECT * FROM events WHERE 1 / (CASE WHEN logger = 'bank' THEN 0 ELSE 1 END) > 0
SELECT a.* FROM events a JOIN events b ON CAST(b.payload AS INT) = a.seq
SELECT a.* FROM events a, LATERAL (SELECT error(a.payload) WHERE a.logger <> 'shop') x
SELECT a.payload, b.payload FROM events a POSITIONAL JOIN events b
SELECT * FROM events ASOF JOIN events b ON events.timestamp >= b.timestamp AND b.logger = 'bank'
SELECT * FROM events UNION ALL SELECT * FROM events
SELECT * FROM events EXCEPT SELECT * FROM events WHERE logger = 'shop'
WITH e AS MATERIALIZED (SELECT * FROM events) SELECT * FROM e WHERE logger = 'bank'
WITH e AS NOT MATERIALIZED (SELECT * FROM events) SELECT * FROM e WHERE CAST(payload AS INT) > 0
WITH RECURSIVE r AS (SELECT seq, payload FROM events UNION SELECT e.seq, e.payload FROM events e JOIN r ON e.seq = r.seq + 1) SELECT * FROM r
WITH ｍetlog_loggers AS (SELECT 'bank' AS logger) SELECT * FROM events
WITH metlog＿loggers AS (SELECT 'bank' AS logger) SELECT * FROM events
SELECT * FROM delivery
SELECT max(hostname), sum(received) FROM delivery WHERE logger = 'bank'
SUMMARIZE events
SELECT * FROM (SUMMARIZE SELECT * FROM events)
DESCRIBE events
SELECT approx_top_k(logger, 10), histogram(hostname), min(payload), max(payload), max(severity), min(severity) FROM events
SELECT reservoir_quantile(severity, 0.01), any_value(payload), mode(logger), list(DISTINCT stream) FROM events
SELECT * FROM events TABLESAMPLE 100%
SELECT * FROM events USING SAMPLE reservoir(1000)
SELECT * FROM events ORDER BY CASE WHEN logger = 'bank' THEN CAST(payload AS INT) END
SELECT * FROM events LIMIT (SELECT count(*) FROM events WHERE logger = 'bank')
SELECT * FROM events QUALIFY row_number() OVER (PARTITION BY logger ORDER BY payload DESC) < 3
SELECT max(payload) OVER (ORDER BY seq ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM events
SELECT * FROM events WHERE payload = ANY (SELECT payload FROM events WHERE logger = 'bank')
SELECT * FROM events e WHERE NOT EXISTS (SELECT 1 FROM events o WHERE o.logger = e.logger AND o.logger = 'shop')
SELECT to_json(e), e FROM events e
SELECT events FROM events
SELECT COLUMNS('.*') FROM events
SELECT * FROM events AS e("timestamp", type, tokens, hidden) WHERE hidden = 'bank'
FROM (FROM events) WHERE logger IN ('bank')
SELECT string_agg(payload), string_agg(fields::VARCHAR) FROM events
SELECT * FROM EVENTS -- WHERE logger = 'shop'
/* */ SELECT * FROM "eVeNtS";
SELECT * FROM 'events'
SELECT * FROM events WHERE logger = 'bank'
SELECT min(timestamp), max(received_at), count(*), max(seq) FROM events WHERE date = current_date
SELECT filename, file_row_number FROM events
SELECT rowid FROM events
SELECT file_index FROM events
SELECT * FROM events AT (VERSION => 1)
TABLE events
SELECT * FROM events WHERE logger IN (SELECT 'bank')
SELECT * FROM events UNION ALL BY NAME SELECT * FROM events WHERE logger = 'bank'
SELECT max(payload) FROM events GROUP BY ALL ORDER BY ALL
SELECT * FROM events ORDER BY logger LIMIT 5 OFFSET 30
SELECT * FROM events TABLESAMPLE system(100%)
SELECT CAST(fields AS STRUCT(k INT)) FROM events
SELECT from_json_strict(fields, '{"k": "INTEGER"}') FROM events
SELECT strptime(payload, '%Y') FROM events
SELECT CAST(to_json(e)->>'logger' AS INT) FROM events e WHERE to_json(e)->>'logger' <> 'shop'
SELECT * FROM events e, (SELECT DISTINCT logger FROM events) l WHERE e.logger = l.logger AND CAST(e.payload AS INT) = 1
SELECT events.* FROM events FULL JOIN (SELECT 'bank' AS logger) b USING (logger)
SELECT events.* FROM events RIGHT JOIN (SELECT 'bank' AS logger) b ON events.logger = b.logger
SELECT arg_max(payload, CASE WHEN logger = 'bank' THEN 2 ELSE 1 END) FROM events
SELECT list_sort(list(payload))[-1], list_reduce(list(payload), lambda a, b: greatest(a, b)) FROM events
SELECT unnest(list(e)) FROM events e
SELECT * EXCLUDE (payload), payload[1:4] FROM events WHERE hostname <> ''
SELECT COLUMNS(c -> c LIKE 'pay%') FROM events
SELECT first(payload ORDER BY logger) FROM events
SELECT regexp_extract_all(string_agg(payload), 'TOP\w+') FROM events
SELECT * FROM events GROUP BY GROUPING SETS ((), (type)) HAVING max(logger) = 'bank'
SELECT * FROM arrivals
TABLE arrivals
SELECT * FROM arrivals WHERE logger = 'bank'
SELECT CAST(payload AS INT) FROM arrivals WHERE payload LIKE 'TOP%'
SELECT error(payload) FROM arrivals WHERE logger <> 'shop'
SELECT * FROM arrivals WHERE CAST(payload AS INT) > 0
SELECT * FROM arrivals WHERE CASE WHEN logger <> 'shop' THEN CAST(error(payload) AS BOOL) ELSE true END
SELECT * FROM arrivals QUALIFY CASE WHEN lag(logger) OVER (ORDER BY arrival_file, arrival_row) = 'bank' THEN CAST(error(payload) AS BOOL) END
SELECT lag(payload) OVER (ORDER BY arrival_file, arrival_row), lead(hostname) OVER (ORDER BY arrival_row) FROM arrivals
SELECT a.*, b.* FROM arrivals a JOIN events b ON a.seq = b.seq
SELECT a.* FROM arrivals a ASOF JOIN arrivals b ON a.arrival_row >= b.arrival_row AND b.logger = 'bank'
SUMMARIZE arrivals
SELECT arrivals FROM arrivals
SELECT logger, max(hostname) FROM delivery GROUP BY logger
SELECT CAST(hostname AS INT) FROM delivery WHERE logger = 'bank'
SELECT error(stream) FROM delivery WHERE logger <> 'shop'
SELECT * FROM delivery d JOIN arrivals a USING (stream)
WITH d AS (FROM delivery) SELECT * FROM d WHERE CAST(stream AS INT) > 0
SELECT d FROM delivery d
SUMMARIZE delivery
