package devtest

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
)

// SmallPartitions replaces the partitions of an empty outbox with partitions of 1000 ids each, and creates 5 of them
// ahead. in replaces the schema name in an SQL text with the schema of the outbox.
func SmallPartitions(t testing.TB, pool *pgxpool.Pool, in func(string) string) {
	t.Helper()
	_, err := pool.Exec(t.Context(), in(`
DO $$
DECLARE leaf text;
BEGIN
    FOR leaf IN SELECT name FROM outbox.partition LOOP
        EXECUTE format('DROP TABLE outbox.%I', leaf);
    END LOOP;
    DELETE FROM outbox.partition;
    PERFORM outbox.extend(1000, 5);
    INSERT INTO outbox.batch (first_position, last_position, ids, head, snapshot) VALUES (0, 0, '{}', 0, pg_current_snapshot());
END $$`))
	if err != nil {
		t.Fatalf("create small partitions: %v", err)
	}
}
