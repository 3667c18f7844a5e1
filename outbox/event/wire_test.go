package event_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/seed-6eff6314/outbox-relay/outbox/event"
)

var update = flag.Bool("update", false, "write the golden files anew")

func wireEvents() map[string]event.Event {
	full := event.Event{
		Subject: "users.42.updated", Key: `4"2\`, Payload: []byte("\x00\xff{},\"\\'"), ContentType: "application/octet-stream",
		Headers: map[string]string{"Trace-Parent": `00-"x"`, "Empty": ""}, ResendOf: uuid.MustParse("7c9e6679-7425-40de-944b-e07fc1f90ae7"),
	}
	full.ID = uuid.MustParse("3d1a6a33-5698-4b44-86f6-5ba6ee7ae558")
	full.Position = 17
	full.CreatedAt = time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	return map[string]event.Event{
		"full":  full,
		"small": {ID: full.ID, Subject: "a", Payload: []byte("{}"), ContentType: event.DefaultContentType},
	}
}

// The files are the wire contract: a difference breaks all consumers.
func TestWireIsGolden(t *testing.T) {
	for name, e := range wireEvents() {
		headers := make(map[string][]string)
		e.SetHeaders(headers)
		got, err := json.MarshalIndent(map[string]any{"subject": e.Subject, "headers": headers, "body": e.Payload}, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("..", "..", "testdata", "wire", name+".golden")
		if *update {
			if err := os.WriteFile(path, append(got, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got)+"\n" != string(want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
		back, err := event.Parse(e.Subject, headers, e.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(back, e) {
			t.Errorf("%s: got back\n%+v\nwant\n%+v", name, back, e)
		}
	}
}

func TestParseForeignAndBroken(t *testing.T) {
	e, err := event.Parse("a.b", map[string][]string{"Nats-Msg-Id": {"whatever"}, "X": {"y"}}, []byte("z"))
	if err != nil || e.Position != 0 || e.Headers["X"] != "y" || string(e.Payload) != "z" {
		t.Errorf("a message that no relay published: %+v, %v", e, err)
	}
	for _, h := range []map[string][]string{
		{"Outbox-Position": {"x"}}, {"Outbox-Time": {"yesterday"}}, {"Outbox-Event-Id": {"1"}}, {"Outbox-Position": {"1"}, "Nats-Msg-Id": {"x"}},
	} {
		if _, err := event.Parse("a", h, nil); err == nil {
			t.Errorf("%v: want an error", h)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("Outbox-Position", "17", "Nats-Msg-Id", "3d1a6a33-5698-4b44-86f6-5ba6ee7ae558", []byte("{}"))
	f.Fuzz(func(_ *testing.T, name1, value1, name2, value2 string, body []byte) {
		_, _ = event.Parse("a", map[string][]string{name1: {value1}, name2: {value2}}, body)
	})
}
