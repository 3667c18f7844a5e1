package dial

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
)

// maxCertFile bounds a file of certificates in bytes; the CAs of a system take about 250 KiB.
const maxCertFile = 1 << 20

// tlsFiles returns the TLS configuration that the settings <server>_ca, _cert and _key ask for, nil if none is set. It
// always verifies the server's certificate, by that CA or else by those of the system; the connection must set the
// server name. The client certificate is read again for each connection, so that a renewed one is used.
func tlsFiles(s *setting.Set, server string) (*tls.Config, error) {
	ca, cert, key := server+"_ca", server+"_cert", server+"_key"
	if s.Text(ca) == "" && s.Text(cert) == "" && s.Text(key) == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if path := s.Text(ca); path != "" {
		pem, err := setting.ReadAtMost(path, maxCertFile)
		if err != nil {
			return nil, exit.Usagef(nil, "%s: %w", s.Origin(ca).From, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, exit.Usagef(nil, "%s: want a certificate (PEM), %s has none", s.Origin(ca).From, path)
		}
	}
	if (s.Text(cert) == "") != (s.Text(key) == "") {
		return nil, exit.Usagef(nil, "%s and %s must be set together: a certificate and its key", cert, key)
	}
	if s.Text(cert) == "" {
		return config, nil
	}
	if _, err := keyPair(s, cert, key); err != nil {
		return nil, err
	}
	s.WarnOfMode(key)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return keyPair(s, cert, key) }
	return config, nil
}

func keyPair(s *setting.Set, cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(s.Text(cert), s.Text(key)) // its errors never quote content
	if err != nil {
		return nil, exit.Usagef(nil, "%s and %s: %w", s.Origin(cert).From, s.Origin(key).From, err)
	}
	return &pair, nil
}
