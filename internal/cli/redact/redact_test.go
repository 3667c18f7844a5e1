package redact

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://app:pw@db:5432/x":                         "postgres://app:xxxxx@db:5432/x",
		"postgres://app:p/w?#,:@b@db/x":                       "postgres://app:xxxxx@db/x",
		"postgres://app@db/x?sslmode=on&password=pw&a=b":      "postgres://app@db/x?sslmode=on&password=xxxxx&a=b",
		"postgres://db/x?sslpassword=pw":                      "postgres://db/x?sslpassword=xxxxx",
		"host=db password=pw dbname=x":                        "host=db password=xxxxx dbname=x",
		"host=db password = 'p w\\' x' dbname=x":              "host=db password = xxxxx dbname=x",
		"nats://token@h:4222":                                 "nats://xxxxx@h:4222",
		"nats://u:pw@h1:4222,nats://u:pw@h2:4222":             "nats://u:xxxxx@h2:4222",
		"redis://:pw@h:6379/0":                                "redis://:xxxxx@h:6379/0",
		"redis-sentinel://u:pw@h1:1,h2:2/master/0":            "redis-sentinel://u:xxxxx@h1:1,h2:2/master/0",
		`parse "nats://u:pw@h:bad": invalid port`:             `parse "nats://u:xxxxx@h:bad": invalid port`,
		"api_token=abc client-secret=\"d e\" TOKEN=x":         "api_token=xxxxx client-secret=xxxxx TOKEN=xxxxx",
		"postgres://127.0.0.1:5432/x":                         "postgres://127.0.0.1:5432/x",
		"nats://127.0.0.1:4222":                               "nats://127.0.0.1:4222",
		"unexpected token in line 3; see password settings":   "unexpected token in line 3; see password settings",
		"failed to connect to `user=app database=x`: refused": "failed to connect to `user=app database=x`: refused",
	} {
		if got := Text(text); got != want {
			t.Errorf("Text(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("a/b?c#d:e@f,g")
	f.Fuzz(func(t *testing.T, password string) {
		if strings.ContainsAny(password, " \t\n\v\f\r\u0085\u00a0") || len(password) < 6 || strings.Contains("postgres://user:xxxxx@host/x", password) {
			return // white space ends a URL
		}
		if got := Text("postgres://user:" + password + "@host/x"); strings.Contains(got, password) {
			t.Errorf("%q shows the password", got)
		}
	})
}

// A setting that is one URL, and what nobody can take apart.
func TestRedactURL(t *testing.T) {
	for text, want := range map[string]string{
		"postgres://app:pw@db:5432/x":         "postgres://app:xxxxx@db:5432/x",
		"postgres://app:p w@db/x":             "xxxxx",
		"postgres://app:p\x00w@db/x":          "xxxxx",
		"host=db user=app password=pw":        "host=db user=app password=xxxxx",
		"host=db password=two words":          "xxxxx",
		"host=db password='unfinished string": "xxxxx",
		"token@127.0.0.1:4222":                "xxxxx@127.0.0.1:4222",
		"user:pw@127.0.0.1":                   "xxxxx@127.0.0.1",
		"user:p@w@127.0.0.1":                  "xxxxx@127.0.0.1",
		"nats://u:pw@h1, nats://u:pw@h2":      "xxxxx",
		"127.0.0.1:4222":                      "127.0.0.1:4222",
		"":                                    "",
	} {
		if got := URL(text); got != want {
			t.Errorf("URL(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestSecretsAreHidden(t *testing.T) {
	var s secrets
	s.add("abc")
	s.add("tree")
	s.add("treehouse")
	if got := s.replace("abc tree treehouse"); got != "abc xxxxx xxxxx" {
		t.Errorf("%q", got)
	}
}

func TestLogsAreRedacted(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewJSONHandler(&out, &slog.HandlerOptions{ReplaceAttr: Attr}))
	log.Info("dial nats://app:s3cret@h", "err", errors.New("postgres://app:s3cret@h"), "url", "redis://:s3cret@h", "n", 1)
	if strings.Contains(out.String(), "s3cret") || strings.Count(out.String(), "xxxxx") != 3 || !strings.Contains(out.String(), `"n":1`) {
		t.Errorf("%s", &out)
	}
}

// The part between :// and @ is a secret unless it is a reference to a variable.
func TestHoldsSecret(t *testing.T) {
	for text, want := range map[string]bool{
		"postgres://app:pw@db/x": true, "postgres://app:${PW}@db/x": false, "postgres://${USER}:${PW}@db/x": false, "postgres://app@db/x": false,
		"host=db password=pw": true, "host=db password=${PW}": false, "postgres://db/x?password=pw": true, "redis://:pw@h": true, "redis://h:6379/0": false, "${URL}": false,
		"nats://token@h": true, "nats://${TOKEN}@h": false, "nats://a:${P}@h,nats://b:${P}@h": false, "nats://a:${P}@h,nats://b:p@h": true, "postgres://app:pre${PW}@db": true,
	} {
		if got := HoldsSecret(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}
