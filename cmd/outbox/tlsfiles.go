package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/nats-io/nats.go"
)

// maxCertFile bounds a file of certificates; the CAs of a system have about 250 KiB.
const maxCertFile = 1 << 20

// tlsFiles is the TLS configuration that the settings <server>_ca, _cert and _key ask for, nil if none is set. The
// server's certificate is always verified: by that CA, or without one by those of the system. Its name is left to the
// connection. The client certificate is read again for each connection, so that a renewed one is taken.
func (s settings) tlsFiles(server string) (*tls.Config, error) {
	ca, cert, key := server+"_ca", server+"_cert", server+"_key"
	if s.text(ca) == "" && s.text(cert) == "" && s.text(key) == "" {
		return nil, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if path := s.text(ca); path != "" {
		pem, err := readAtMost(path, maxCertFile)
		if err != nil {
			return nil, usagef(nil, "%s: %w", s.origin(ca).from, err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usagef(nil, "%s: %s holds no certificate (PEM)", s.origin(ca).from, path)
		}
	}
	if (s.text(cert) == "") != (s.text(key) == "") {
		return nil, usagef(nil, "%s and %s go together: a certificate and its key", cert, key)
	}
	if s.text(cert) == "" {
		return config, nil
	}
	if _, err := s.keyPair(cert, key); err != nil {
		return nil, err
	}
	s.warnOfMode(key)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return s.keyPair(cert, key) }
	return config, nil
}

func (s settings) keyPair(cert, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(s.text(cert), s.text(key)) // its errors name a file or a kind of block, never content
	if err != nil {
		return nil, usagef(nil, "%s and %s: %w", s.origin(cert).from, s.origin(key).from, err)
	}
	return &pair, nil
}

// tlsRefused says that the two ends could not agree on who they are: the server is there.
func tlsRefused(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, ok := errors.AsType[tls.AlertError](err)
	return ok || errors.Is(err, nats.ErrTLS) || errors.Is(err, nats.ErrSecureConnWanted)
}
