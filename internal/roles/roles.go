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

// ErrRights means that the connected role lacks a right that Apply needs. A role that has it can run the script that
// SQL returns instead.
var ErrRights = errors.New("the connected role lacks a right")

// Set describes the database roles of an outbox: prefix_writer, prefix_relay, prefix_auditor and prefix_owner. They
// are group roles without login, for login roles to be members of. sql/roles.sql documents the rights of each. Roles
// belong to the whole cluster, so outboxes in one cluster share them unless they have different prefixes.
type Set struct {
	Prefix string // 1 to 48 letters, digits, _ and -. Defaults to "outbox"

	// Own makes prefix_owner the owner of the schema and everything in it, and creates an empty schema if there is
	// none. Otherwise the role that migrated remains the owner, and prefix_owner has no rights.
	Own bool

	// Existing roles that become members of the four.
	Writers, Relays, Auditors, Owners []string
}

// Role is the state of one of the roles.
type Role struct {
	Name    string   `json:"role"`
	Exists  bool     `json:"exists"`
	Members []string `json:"members"` // direct members, by name
}

// SQL returns what Apply does, as a script for psql and other tools. It needs no database.
func SQL(schema string, r Set) (string, error) {
	script, err := body(schema, r)
	if err != nil {
		return "", err
	}
	return "BEGIN;\nSET LOCAL lock_timeout = '5s';\n" + script + "COMMIT;\n", nil
}

// Apply creates the roles that are missing and gives all of them exactly their rights, in one transaction that waits
// at most lockTimeout for each lock. It is idempotent, and revokes rights in the schema that the roles have beyond
// that. migrated is false if there are no tables yet: the caller should migrate and apply again. Apply returns
// ErrRights if the connected role may not create a role that is missing, or does not own the tables.
func Apply(ctx context.Context, db outbox.Beginner, schema string, r Set, lockTimeout time.Duration) (migrated bool, err error) {
	script, err := body(schema, r)
	if err != nil {
		return false, fmt.Errorf("apply roles: %w", err)
	}
	err = pgtx.WithLockTimeout(ctx, db, lockTimeout, func(tx pgx.Tx) error {
		// The role is powerful: objects that others created in public must not shadow what the script calls.
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

// Status returns the state of the four roles with a prefix.
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

// mayApply returns ErrRights, with the role that can do it instead, if the connected role cannot apply the roles.
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
		return false, fmt.Errorf("read the roles: %w", err)
	}
	instead := fmt.Sprintf("run: outbox roles print --schema %s --prefix %s, and have it run by", schema, prefix)
	switch {
	case len(missing) > 0 && !mayCreate:
		return false, fmt.Errorf("%w: role %s has no CREATEROLE, and %s missing; %s an administrator of the database",
			ErrRights, role, enumerate(missing), instead)
	case !owns:
		return false, fmt.Errorf("%w: role %s does not own everything in schema %s; %s its owner or a superuser", ErrRights, role, schema, instead)
	}
	return migrated, nil
}

func enumerate(names []string) string {
	if len(names) == 1 {
		return names[0] + " is"
	}
	return strings.Join(names, ", ") + " are"
}
