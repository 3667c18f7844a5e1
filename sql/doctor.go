package sql

import (
	"embed"
	"fmt"
)

//go:embed doctor/*.sql
var doctorFiles embed.FS

// DoctorStatements are the texts of outbox doctor for one schema, each named after its file in doctor/. None of
// them changes anything.
type DoctorStatements struct {
	Attached, Held, Lock, Long, Notify, Partitions, Server, Table, Unlock string
}

// DoctorFor returns the statements of doctor for a schema whose name For accepts.
func DoctorFor(schema string) (DoctorStatements, error) {
	if !schemaName.MatchString(schema) {
		return DoctorStatements{}, fmt.Errorf("schema name %q", schema)
	}
	q := func(name string) string {
		text, err := doctorFiles.ReadFile("doctor/" + name + ".sql")
		if err != nil {
			panic(err) // embedded
		}
		return In(schema, string(text))
	}
	return DoctorStatements{
		Attached: q("attached"), Held: q("held"), Lock: q("lock"), Long: q("long"), Notify: q("notify"),
		Partitions: q("partitions"), Server: q("server"), Table: q("table"), Unlock: q("unlock"),
	}, nil
}
