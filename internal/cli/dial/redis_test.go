package dial

import (
	"fmt"
	"testing"

	"github.com/redis/go-redis/v9"
)

func TestParseRedis(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h":                                  "[h:6379] db=0 user= password= tls=false cluster=false master=",
		"redis://u:p%2Fw@h:7/2":                      "[h:7] db=2 user=u password=p/w tls=false cluster=false master=",
		"rediss://:pw@h:7/2?pool_size=3":             "[h:7] db=2 user= password=pw tls=true cluster=false master=",
		"redis://[::1]:7":                            "[[::1]:7] db=0 user= password= tls=false cluster=false master=",
		"redis-cluster://u:pw@h1:7,h2:8":             "[h1:7 h2:8] db=0 user=u password=pw tls=false cluster=true master=",
		"rediss-cluster://h1:7":                      "[h1:7] db=0 user= password= tls=true cluster=true master=",
		"redis-sentinel://:pw@h1:7,h2:8/main/3":      "[h1:7 h2:8] db=3 user= password=pw tls=false cluster=false master=main",
		"redis-sentinel://h1:7/main?dial_timeout=1s": "[h1:7] db=0 user= password= tls=false cluster=false master=main",
	} {
		o, err := parseRedis(url)
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		got := fmt.Sprintf("%v db=%d user=%s password=%s tls=%v cluster=%v master=%s",
			o.Addrs, o.DB, o.Username, o.Password, o.TLSConfig != nil, o.IsClusterMode, o.MasterName)
		if got != want {
			t.Errorf("%s is %s, want %s", url, got, want)
		}
		if !o.ContextTimeoutEnabled {
			t.Errorf("%s: a deadline would not count", url)
		}
	}
	for _, url := range []string{"", "h:6379", "http://h", "redis://h1,h2", "redis://h:port", "redis://h/zero", "redis-sentinel://h", "redis-other://h", "redis-cluster://"} {
		if o, err := parseRedis(url); err == nil {
			t.Errorf("%q is accepted: %v", url, o.Addrs)
		}
	}
}

// The kinds of URL make the kinds of client.
func TestRedisClients(t *testing.T) {
	for url, want := range map[string]string{
		"redis://h":               "*redis.Client",
		"redis-cluster://h":       "*redis.ClusterClient",
		"redis-sentinel://h/main": "*redis.Client",
	} {
		o, err := parseRedis(url)
		if err != nil {
			t.Fatal(err)
		}
		rdb := redis.NewUniversalClient(o)
		if got := fmt.Sprintf("%T", rdb); got != want {
			t.Errorf("%s makes a %s, want a %s", url, got, want)
		}
		if err := rdb.Close(); err != nil {
			t.Error(err)
		}
	}
}
