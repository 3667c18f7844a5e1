package sqlstate_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/seed-6eff6314/outbox-relay/internal/sqlstate"
)

func TestIs(t *testing.T) {
	wrapped := func(code string) error { return fmt.Errorf("insert: %w", &pgconn.PgError{Code: code}) }
	for _, c := range []struct {
		name           string
		err            error
		unique         bool
		missing, wrong bool
	}{
		{"nil", nil, false, false, false},
		{"another error", errors.New("23505"), false, false, false},
		{"unique violation", wrapped("23505"), true, false, true},
		{"undefined table", wrapped("42P01"), false, true, false},
		{"invalid schema name", wrapped("3F000"), false, true, false},
		{"invalid text", wrapped("22P02"), false, false, true},
	} {
		if got := sqlstate.Is(c.err, sqlstate.LockNotAvailable, sqlstate.UniqueViolation); got != c.unique {
			t.Errorf("%s: Is = %v, want %v", c.name, got, c.unique)
		}
		if got := sqlstate.MissingSchema(c.err); got != c.missing {
			t.Errorf("%s: MissingSchema = %v, want %v", c.name, got, c.missing)
		}
		if got := sqlstate.BadData(c.err); got != c.wrong {
			t.Errorf("%s: BadData = %v, want %v", c.name, got, c.wrong)
		}
	}
}
