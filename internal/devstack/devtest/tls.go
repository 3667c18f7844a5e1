package devtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/seed-6eff6314/outbox-relay/internal/devstack"
)

// TLS makes a certificate authority and a certificate that it signed, in files that
// end with the test. The certificate serves 127.0.0.1 and localhost, is good for
// clients too, with common name app, and holds for an hour. CA is the authority's.
func TLS(t testing.TB) devstack.TLSFiles {
	t.Helper()
	dir := t.TempDir()
	authority := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "devtest"},
		NotBefore:             time.Now().Add(-time.Minute),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageCertSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "app"},
		NotBefore:    authority.NotBefore,
		NotAfter:     authority.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	authorityKey, leafKey := newKey(t), newKey(t)
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatalf("marshal TLS key: %v", err)
	}
	return devstack.TLSFiles{
		CA:   writePEM(t, filepath.Join(dir, "ca.crt"), "CERTIFICATE", sign(t, authority, authority, authorityKey, authorityKey)),
		Cert: writePEM(t, filepath.Join(dir, "app.crt"), "CERTIFICATE", sign(t, leaf, authority, leafKey, authorityKey)),
		Key:  writePEM(t, filepath.Join(dir, "app.key"), "PRIVATE KEY", private),
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make TLS key: %v", err)
	}
	return key
}

func sign(t testing.TB, cert, authority *x509.Certificate, key, authorityKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, authority, key.Public(), authorityKey)
	if err != nil {
		t.Fatalf("sign TLS certificate: %v", err)
	}
	return der
}

func writePEM(t testing.TB, path, kind string, der []byte) string {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatalf("write TLS file: %v", err)
	}
	return path
}
