// Package sql holds every statement and migration that this project sends, as text. Each file runs unmodified in
// psql on the default schema; Bind and In give the same texts for another one. The package imports no other of this
// project.
package sql

import (
	"embed"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql queries/*.sql doctor/*.sql
var files embed.FS

// DefaultSchema is the schema that the files name.
const DefaultSchema = "outbox"

// Migration is one numbered step of the schema.
type Migration struct {
	Version int    // from 1, without a gap
	Name    string // for example "outbox"
	SQL     string
}

// schemaName is strict, so that a quoted schema name is safe inside string literals too.
var schemaName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$-]{0,47}$`)

// qualifier matches the schema in the files, where a dot always follows.
var qualifier = regexp.MustCompile(`\boutbox\.`)

// CheckSchema returns an error unless a schema's name has 1 to 48 letters, digits, _ - or $, and begins with a letter
// or _.
func CheckSchema(name string) error {
	if !schemaName.MatchString(name) {
		return fmt.Errorf("schema name %q: want 1 to 48 of A-Z a-z 0-9 _ - $, beginning with a letter or _", name)
	}
	return nil
}

// In returns a text that names the default schema for another one, whose name CheckSchema must accept.
func In(schema, text string) string {
	if schema == DefaultSchema {
		return text
	}
	return qualifier.ReplaceAllLiteralString(text, `"`+schema+`".`)
}

// Migrations returns every migration in order, for the default schema. Call In for another one.
func Migrations() []Migration {
	names, err := fs.Glob(files, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	out := make([]Migration, 0, len(names))
	for _, path := range names {
		number, name, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(path, "migrations/"), ".sql"), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != len(out)+1 {
			panic("sql: " + path + ": migrations are numbered from 001 without a gap") // a mistake in the code, which every test finds
		}
		out = append(out, Migration{Version: version, Name: name, SQL: read(path)})
	}
	return out
}

// Version returns the number of the highest migration.
func Version() int { return len(Migrations()) }

func read(path string) string {
	text, err := files.ReadFile(path)
	if err != nil {
		panic(err) // embedded
	}
	return string(text)
}
