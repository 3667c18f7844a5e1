-- cluster_insert: appends to the log of clusters. A unique violation on cluster_pkey means that another relay appended
-- first.
INSERT INTO outbox.cluster (n, system_identifier, timeline, settled, reason, relay) VALUES ($1, $2, $3, $4, $5, $6);
