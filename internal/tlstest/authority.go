// Package tlstest issues certificates for tests of connections with TLS.
package tlstest

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
)

// An Authority is a certificate authority for one test. Its files are removed when the test ends, and its certificates
// are valid for an hour. It must be used by one goroutine at a time.
type Authority struct {
	File string // path of the authority's own certificate, PEM

	t      testing.TB
	dir    string
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64 // of the last certificate
}

// NewAuthority creates an authority with a common name.
func NewAuthority(t testing.TB, name string) *Authority {
	t.Helper()
	a := &Authority{t: t, dir: t.TempDir()}
	a.key = a.newKey()
	a.cert = a.template(name)
	a.cert.IsCA, a.cert.BasicConstraintsValid, a.cert.KeyUsage = true, true, x509.KeyUsageCertSign
	a.File = a.write("ca.crt", "CERTIFICATE", a.sign(a.cert, a.key), 0o644)
	return a
}

// Issue creates a certificate with a common name for servers and clients, valid for hosts, which are IP addresses or
// DNS names. It returns the paths of the certificate and of its private key, both PEM. name must be unique for a.
func (a *Authority) Issue(name string, hosts ...string) (cert, key string) {
	a.t.Helper()
	leaf := a.template(name)
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	private := a.newKey()
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		a.t.Fatalf("marshal the key of %s: %v", name, err)
	}
	return a.write(name+".crt", "CERTIFICATE", a.sign(leaf, private), 0o644), a.write(name+".key", "PRIVATE KEY", encoded, 0o600)
}

func (a *Authority) template(name string) *x509.Certificate {
	a.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Minute), // tolerates clocks that differ a little
		NotAfter:     time.Now().Add(time.Hour),
	}
}

func (a *Authority) newKey() *ecdsa.PrivateKey {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatalf("generate a TLS key: %v", err)
	}
	return key
}

// sign returns a certificate for the public part of key, DER.
func (a *Authority) sign(cert *x509.Certificate, key *ecdsa.PrivateKey) []byte {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatalf("sign the certificate of %s: %v", cert.Subject.CommonName, err)
	}
	return der
}

func (a *Authority) write(name, kind string, der []byte, mode os.FileMode) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode); err != nil {
		a.t.Fatalf("write a TLS file: %v", err)
	}
	return path
}
