package devtest

import (
	"net/url"
	"testing"

	"github.com/seed-6eff6314/outbox-relay/internal/faultnet"
)

// Proxy starts a [faultnet.Proxy] in front of the server at a URL, closed when the test ends. It returns the proxy and
// the URL with the proxy's address instead of the server's.
func Proxy(t testing.TB, server string) (*faultnet.Proxy, string) {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	proxy, err := faultnet.Listen(u.Host)
	if err != nil {
		t.Fatalf("proxy of %s: %v", u.Host, err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Errorf("close the proxy of %s: %v", u.Host, err)
		}
	})
	u.Host = proxy.Addr()
	return proxy, u.String()
}
