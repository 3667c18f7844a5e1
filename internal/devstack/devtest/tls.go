package devtest

import (
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
	"github.com/seed-6eff6314/outbox-relay/internal/tlstest"
)

// TLS creates a certificate authority and a certificate of it for 127.0.0.1 and localhost, with common name app, for
// servers and clients. The certificate is valid for an hour, and the files are removed when the test ends.
func TLS(t testing.TB) devstack.TLSFiles {
	t.Helper()
	authority := tlstest.NewAuthority(t, "devtest")
	cert, key := authority.Issue("app", "127.0.0.1", "localhost")
	return devstack.TLSFiles{CA: authority.File, Cert: cert, Key: key}
}
