package sql

import (
	"embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed roles*.sql
var roleFiles embed.FS

// DefaultRolePrefix is the prefix of the roles' names in the files.
const DefaultRolePrefix = "outbox"

// RoleStatements are the statements that create, grant and inspect the database roles of one schema, each named after
// its file roles_*.sql.
type RoleStatements struct {
	Writer, Relay, Auditor, Owner string // names of the roles, unquoted
	Roles, Own, Preview, Status   string
}

// roleNames matches the names that depend on the schema or on the prefix. One expression matches both, so that no
// name is substituted twice.
var roleNames = regexp.MustCompile(`\boutbox_(writer|relay|auditor|owner)\b|\boutbox\.|\bSCHEMA outbox\b|\bto_regnamespace\('outbox'\)`)

// rolePrefix leaves room for _auditor in the 63 bytes of a name, and has no $, which could end a quoted block.
var rolePrefix = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,47}$`)

// RolesFor returns the statements for a schema that CheckSchema accepts, and for roles named prefix_writer,
// prefix_relay, prefix_auditor and prefix_owner. A prefix has 1 to 48 letters, digits, _ and -, and begins with a
// letter or _. It must not be pg or begin with pg_, because PostgreSQL reserves these names.
func RolesFor(schema, prefix string) (RoleStatements, error) {
	if err := CheckSchema(schema); err != nil {
		return RoleStatements{}, err
	}
	if !rolePrefix.MatchString(prefix) || strings.HasPrefix(prefix+"_", "pg_") {
		return RoleStatements{}, fmt.Errorf("role prefix %q: want 1 to 48 of A-Z a-z 0-9 _ -, beginning with a letter or _, and not pg", prefix)
	}
	q := func(name string) string {
		text, err := roleFiles.ReadFile(name + ".sql")
		if err != nil {
			panic(err) // embedded
		}
		return roleNames.ReplaceAllStringFunc(string(text), func(found string) string {
			switch role, isRole := strings.CutPrefix(found, "outbox_"); {
			case isRole && prefix == DefaultRolePrefix, !isRole && schema == DefaultSchema:
				return found
			case isRole:
				return `"` + prefix + "_" + role + `"`
			}
			return strings.Replace(found, "outbox", `"`+schema+`"`, 1)
		})
	}
	return RoleStatements{
		Writer: prefix + "_writer", Relay: prefix + "_relay", Auditor: prefix + "_auditor", Owner: prefix + "_owner",
		Roles: q("roles"), Own: q("roles_own"), Preview: q("roles_preview"), Status: q("roles_status"),
	}, nil
}

// roleName matches the names of roles that others created: the characters of a schema's name, at most 63 of them as
// in PostgreSQL.
var roleName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$-]{0,62}$`)

// Grant returns the statement that makes member a member of role. Both names need 1 to 63 letters, digits, _, - and
// $, and must begin with a letter or _; Grant returns an error otherwise.
func Grant(role, member string) (string, error) {
	for _, name := range []string{role, member} {
		if !roleName.MatchString(name) {
			return "", fmt.Errorf("role name %q: want 1 to 63 of A-Z a-z 0-9 _ - $, beginning with a letter or _", name)
		}
	}
	return fmt.Sprintf(`GRANT "%s" TO "%s";`, role, member), nil
}
