package sql

import (
	"reflect"
	"strings"
	"unicode"
)

// Bind fills a struct of statements for one schema. Each field is an exported string, and its name is the name of a
// file: DeadRows is queries/dead_rows.sql. A tag names another file: `sql:"trail_id"` is queries/trail_id.sql, and
// `sql:"doctor/server"` is doctor/server.sql.
//
// Bind returns an error only for a schema name that CheckSchema refuses. A field that is no string, or that has no
// file, is a mistake in the code: Bind panics.
func Bind[T any](schema string) (T, error) {
	var statements T
	if err := CheckSchema(schema); err != nil {
		return statements, err
	}
	v := reflect.ValueOf(&statements).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		v.Field(i).SetString(In(schema, read(File(field.Name, field.Tag))))
	}
	return statements, nil
}

// File returns the path of the file that Bind reads for a field.
func File(field string, tag reflect.StructTag) string {
	name := tag.Get("sql")
	if name == "" {
		name = snake(field)
	}
	if !strings.Contains(name, "/") {
		name = "queries/" + name
	}
	return name + ".sql"
}

// snake turns FieldName into field_name.
func snake(field string) string {
	var b strings.Builder
	for i, r := range field {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
