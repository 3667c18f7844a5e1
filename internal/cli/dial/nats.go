package dial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/seed-6eff6314/outbox-relay/internal/cli/exit"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/redact"
	"github.com/seed-6eff6314/outbox-relay/internal/cli/setting"
)

// NATS returns a connection for a short command: it does not reconnect. name is that of the connection.
func NATS(ctx context.Context, s *setting.Set, name string) (nc *nats.Conn, js jetstream.JetStream, err error) {
	err = Await(ctx, s, exit.NATS, func() (err error) {
		nc, js, err = ConnectNATS(s, name, nats.NoReconnect())
		return err
	})
	return nc, js, err
}

// KeepNATS returns at once, connects in the background, and reconnects whenever the connection is lost. It buffers
// nothing while it is disconnected, because a publisher must learn that it did not publish.
func KeepNATS(s *setting.Set, name string, log *slog.Logger) (*nats.Conn, jetstream.JetStream, error) {
	return ConnectNATS(s, name,
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectBufSize(-1), nats.ReconnectWait(250*time.Millisecond),
		nats.ConnectHandler(func(nc *nats.Conn) { log.Info("nats connected", "url", nc.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(nc *nats.Conn) { log.Info("nats reconnected", "url", nc.ConnectedUrlRedacted()) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: this process closed it
				log.Warn("nats connection lost, reconnecting", "err", redact.Text(err.Error()))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Warn("nats client reported an error", "err", redact.Text(err.Error()))
		}),
	)
}

// ConnectNATS tries once to connect, with more options.
func ConnectNATS(s *setting.Set, name string, options ...nats.Option) (*nats.Conn, jetstream.JetStream, error) {
	urls := s.Text("nats_url")
	bad := badURL(s, "nats_url", natsURL)
	secure, err := secureNATS(s)
	if _, ok := errors.AsType[*url.Error](err); ok || len(setting.Split(urls)) == 0 {
		return nil, nil, bad
	}
	if err != nil {
		return nil, nil, err
	}
	options = append(options, nats.Name(name), nats.Timeout(Timeout), nats.CustomInboxPrefix(inbox(s, name)))
	nc, err := nats.Connect(urls, append(options, secure...)...)
	if err != nil {
		if _, ok := errors.AsType[*url.Error](err); ok {
			return nil, nil, bad
		}
		return nil, nil, exit.Unreached(exit.NATS, fmt.Errorf("%s (%s): %w", redact.URL(urls), s.Origin("nats_url").From, err))
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("open JetStream: %w", err)
	}
	return nc, js, nil
}

// inbox begins the subjects on which a command receives replies: _INBOX_outbox_relay for a connection whose name begins
// with outbox relay. The permissions of a NATS user can then keep others from reading or forging its replies.
func inbox(s *setting.Set, name string) string {
	if prefix := s.Text("nats_inbox"); prefix != "" {
		return prefix
	}
	words := strings.Fields(name)
	return "_INBOX_" + strings.Join(words[:min(2, len(words))], "_")
}

// secureNATS returns options for the settings beside the URLs, once it has checked where these lead.
func secureNATS(s *setting.Set) ([]nats.Option, error) {
	files, err := tlsFiles(s, exit.NATS)
	if err != nil {
		return nil, err
	}
	peers, err := natsPeers(s.Text("nats_url"), files != nil)
	if err != nil {
		return nil, err
	}
	if err := allow(s, "nats_url", peers); err != nil {
		return nil, err
	}
	options, err := natsUser(s)
	if err != nil {
		return nil, err
	}
	if files != nil {
		options = append(options, nats.Secure(files))
	}
	if len(peers) > 0 && peers[0].Flaw != "" && !s.On("insecure") {
		options = append(options, nats.IgnoreDiscoveredServers()) // they would be on other machines
	}
	return options, nil
}

// natsUser returns the option for the one way to log in that the settings name: credentials, nkey, token, or user with
// password. Without any, the URL decides.
func natsUser(s *setting.Set) ([]nats.Option, error) {
	var given []string
	for _, key := range []string{"nats_creds", "nats_nkey_file", "nats_token_file", "nats_password_file"} {
		if s.Text(key) != "" {
			given = append(given, key)
		}
	}
	switch {
	case len(given) > 1:
		return nil, exit.Usagef(nil, "%s: want only one way to log in to NATS", strings.Join(given, " and "))
	case (s.Text("nats_user") == "") != (s.Text("nats_password_file") == ""):
		return nil, exit.Usagef(nil, "nats_user and nats_password_file must be set together")
	case len(given) == 0:
		return nil, nil
	}
	key, path := given[0], s.Text(given[0])
	if strings.Contains(s.Text("nats_url"), "@") {
		return nil, exit.Usagef(nil, "%s and a user in nats_url (%s): want only one way to log in to NATS", key, s.Origin("nats_url").From)
	}
	switch key {
	case "nats_creds", "nats_nkey_file": // the library reads them again for each connection
		if _, err := os.Stat(path); err != nil {
			return nil, exit.Usagef(nil, "%s: %w", s.Origin(key).From, err)
		}
		s.WarnOfMode(key)
		if key == "nats_creds" {
			return []nats.Option{nats.UserCredentials(path)}, nil
		}
		option, err := nats.NkeyOptionFromSeed(path)
		if err != nil { // its text may quote the file
			return nil, exit.Usagef(nil, "%s: want the seed of a user nkey, %s has none", s.Origin(key).From, path)
		}
		return []nats.Option{option}, nil
	}
	value, err := s.Secret(key)
	if err != nil {
		return nil, err
	}
	if key == "nats_token_file" {
		return []nats.Option{nats.Token(value)}, nil
	}
	return []nats.Option{nats.UserInfo(s.Text("nats_user"), value)}, nil
}
