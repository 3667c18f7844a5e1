// Package roles creates the database roles of an outbox and gives them their rights.
package roles

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/seed-6eff6314/outbox-relay/internal/pgtx"
	"github.com/seed-6eff6314/outbox-relay/outbox"
	text "github.com/seed-6eff6314/outbox-relay/sql"
)

// ErrRights says that the connected role lacks a right that Apply needs; somebody who has it can run what SQL
// returns.
var ErrRights = errors.New("the connected role may not do that")

// Set is the database roles of an outbox: four groups without a login, prefix_writer, prefix_relay, prefix_auditor
// and prefix_owner, that logins are made members of. sql/roles.sql says what each may. They are of the whole cluster.
type Set struct {
	Prefix string // of 1 to 48 letters, digits, _ and -; defaults to "outbox"

	// Own gives the schema and all in it to prefix_owner, and makes an empty schema if there is none. Otherwise whoever
	// migrated stays the owner, and prefix_owner has no rights.
	Own bool

	// Existing roles that become members.
	Writers, Relays, Auditors, Owners []string
}

// Role is one of them as it is.
type Role struct {
	Name    string   `json:"role"`
	Exists  bool     `json:"exists"`
	Members []string `json:"members"` // direct ones, by name
}

// SQL is what Apply does, as one script for psql and other tools. It needs no database.
func SQL(schema string, r Set) (string, error) {
	script, err := body(schema, r)
	if err != nil {
		return "", err
	}
	return "BEGIN;\nSET LOCAL lock_timeout = '5s';\n" + script + "COMMIT;\n", nil
}

// Apply makes the roles and gives them their rights in one transaction, waiting at most lockTimeout for a lock. Once
// is as good as many times, and what the roles had beyond their rights is taken away. migrated is false when there are no
// tables yet: migrate, then apply again. ErrRights means that the connected role may not create a role that is
// missing, or does not own the tables.
func Apply(ctx context.Context, db outbox.Beginner, schema string, r Set, lockTimeout time.Duration) (migrated bool, err error) {
	script, err := body(schema, r)
	if err != nil {
		return false, fmt.Errorf("apply roles: %w", err)
	}
	err = pgtx.WithLockTimeout(ctx, db, lockTimeout, func(tx pgx.Tx) error {
		// Who may do this may do much: a name that somebody put in public must not decide what happens.
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog, pg_temp"); err != nil {
			return fmt.Errorf("pin the search path: %w", err)
		}
		if migrated, err = mayApply(ctx, tx, schema, r.prefix()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, script)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("apply roles: %w", err)
	}
	return migrated, nil
}

// Status says which of the roles with a prefix there are, and who is a member.
func Status(ctx context.Context, db outbox.DB, schema, prefix string) ([]Role, error) {
	q, err := text.RolesFor(schema, Set{Prefix: prefix}.prefix())
	if err != nil {
		return nil, fmt.Errorf("list roles: %w", err)
	}
	rows, err := db.Query(ctx, q.Status)
	if err != nil {
		return nil, fmt.Errorf("list roles: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Role])
	if err != nil {
		return nil, fmt.Errorf("list roles: %w", err)
	}
	return list, nil
}

func (r Set) prefix() string {
	if r.Prefix == "" {
		return text.DefaultRolePrefix
	}
	return r.Prefix
}

func body(schema string, r Set) (string, error) {
	q, err := text.RolesFor(schema, r.prefix())
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(q.Roles)
	if r.Own {
		b.WriteString(q.Own)
	}
	for _, group := range []struct {
		role    string
		members []string
	}{{q.Writer, r.Writers}, {q.Relay, r.Relays}, {q.Auditor, r.Auditors}, {q.Owner, r.Owners}} {
		for _, member := range group.members {
			grant, err := text.Grant(group.role, member)
			if err != nil {
				return "", err
			}
			b.WriteString(grant + "\n")
		}
	}
	return b.String(), nil
}

// mayApply tells before anything is tried who has to do it instead.
func mayApply(ctx context.Context, db outbox.DB, schema, prefix string) (migrated bool, err error) {
	q, err := text.RolesFor(schema, prefix)
	if err != nil {
		return false, err
	}
	var (
		role            string
		missing         []string
		mayCreate, owns bool
	)
	if err := db.QueryRow(ctx, q.Preview).Scan(&role, &missing, &mayCreate, &migrated, &owns); err != nil {
		return false, fmt.Errorf("look at the roles: %w", err)
	}
	instead := fmt.Sprintf("run: outbox roles print --schema %s --prefix %s, and give it to", schema, prefix)
	switch {
	case len(missing) > 0 && !mayCreate:
		return false, fmt.Errorf("%w: %s has no CREATEROLE, and %s missing; %s an administrator of the database",
			ErrRights, role, enumerate(missing), instead)
	case !owns:
		return false, fmt.Errorf("%w: %s does not own everything in schema %s; %s its owner or a superuser", ErrRights, role, schema, instead)
	}
	return migrated, nil
}

func enumerate(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, ", ") + " are"
}
