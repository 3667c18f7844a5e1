package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// dialNATS connects for one question: it fails when no server answers, at once or after --wait.
func dialNATS(s settings, name string) (nc *nats.Conn, js jetstream.JetStream, err error) {
	err = s.await(natsServer, func() (err error) {
		nc, js, err = connectNATS(s, name, nats.NoReconnect())
		return err
	})
	return nc, js, err
}

// keepNATS connects for a long run: it returns at once, connects when it can, and again whenever it was cut off.
// Nothing is buffered meanwhile: what publishes has to know that it did not.
func keepNATS(s settings, name string, log *slog.Logger) (*nats.Conn, jetstream.JetStream, error) {
	return connectNATS(s, name,
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(250*time.Millisecond),
		nats.ConnectHandler(func(nc *nats.Conn) { log.Info("nats connected", "url", nc.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("nats connected again", "url", nc.ConnectedUrlRedacted()) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it
				log.Warn("nats connection lost", "err", redact(err.Error()))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("nats reports", "err", redact(err.Error()))
		}),
	)
}

// inbox begins the subjects on which a command gets its answers: _INBOX_outbox_relay for one called outbox relay … The
// rights of its user can so keep others from reading them or forging them.
func inbox(s settings, name string) string {
	if prefix := s.text("nats_inbox"); prefix != "" {
		return prefix
	}
	words := strings.Fields(name)
	return "_INBOX_" + strings.Join(words[:min(2, len(words))], "_")
}

func connectNATS(s settings, name string, options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	urls := s.text("nats_url")
	bad := badURL(s, "nats_url", natsURL)
	secure, err := s.secureNATS()
	if _, ok := errors.AsType[*url.Error](err); ok || len(split(urls)) == 0 {
		return nil, nil, bad
	}
	if err != nil {
		return nil, nil, err
	}
	options = append(options, nats.Name(name), nats.Timeout(connectTimeout), nats.CustomInboxPrefix(inbox(s, name)))
	nc, err := nats.Connect(urls, append(options, secure...)...)
	if err != nil {
		if _, ok := errors.AsType[*url.Error](err); ok {
			return nil, nil, bad
		}
		return nil, nil, &serverError{natsServer, fmt.Errorf("%s (%s): %w", redactURL(urls), s.origin("nats_url").from, err)}
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("use jetstream: %w", err)
	}
	return nc, js, nil
}

// secureNATS is what the settings say beside the URLs, once these are allowed.
func (s settings) secureNATS() ([]nats.Option, error) {
	files, err := s.tlsFiles(natsServer)
	if err != nil {
		return nil, err
	}
	peers, err := natsPeers(s.text("nats_url"), files != nil)
	if err != nil {
		return nil, err
	}
	if err := s.allow("nats_url", peers); err != nil {
		return nil, err
	}
	options, err := s.natsUser()
	if err != nil {
		return nil, err
	}
	if files != nil {
		options = append(options, nats.Secure(files))
	}
	if len(peers) > 0 && peers[0].flaw != "" && !s.on("insecure") {
		options = append(options, nats.IgnoreDiscoveredServers()) // they would be on other machines
	}
	return options, nil
}

// natsUser is who we are: one of credentials, nkey, token, user with password, or what the URL says.
func (s settings) natsUser() ([]nats.Option, error) {
	var given []string
	for _, key := range []string{"nats_creds", "nats_nkey_file", "nats_token_file", "nats_password_file"} {
		if s.text(key) != "" {
			given = append(given, key)
		}
	}
	switch {
	case len(given) > 1:
		return nil, usagef(nil, "%s: only one of them can say who we are", strings.Join(given, " and "))
	case (s.text("nats_user") == "") != (s.text("nats_password_file") == ""):
		return nil, usagef(nil, "nats_user and nats_password_file go together")
	case len(given) == 0:
		return nil, nil
	}
	key, path := given[0], s.text(given[0])
	if strings.Contains(s.text("nats_url"), "@") {
		return nil, usagef(nil, "%s and a user in nats_url (%s): only one of them can say who we are", key, s.origin("nats_url").from)
	}
	switch key {
	case "nats_creds", "nats_nkey_file": // the library reads them again for each connection
		if _, err := os.Stat(path); err != nil {
			return nil, usagef(nil, "%s: %w", s.origin(key).from, err)
		}
		s.warnOfMode(key)
		if key == "nats_creds" {
			return []nats.Option{nats.UserCredentials(path)}, nil
		}
		option, err := nats.NkeyOptionFromSeed(path)
		if err != nil { // what it says may quote the file
			return nil, usagef(nil, "%s: %s holds no seed of a user's nkey", s.origin(key).from, path)
		}
		return []nats.Option{option}, nil
	}
	value, err := s.secret(key)
	if err != nil {
		return nil, err
	}
	if key == "nats_token_file" {
		return []nats.Option{nats.Token(value)}, nil
	}
	return []nats.Option{nats.UserInfo(s.text("nats_user"), value)}, nil
}
