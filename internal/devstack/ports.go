package devstack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
)

// freePort finds a port that nobody listens on. It stays below the ports that the
// system hands out to outgoing connections (Linux from 32768, macOS from 49152),
// so that no client takes the port of a server while that is stopped.
func freePort() (int, error) {
	const first, count, tries = 20000, 10000, 100
	var err error
	for range tries {
		port := first + rand.IntN(count)
		if err = portFree(port); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}

// freePorts finds n ports, all different.
func freePorts(n int) ([]int, error) {
	var ports []int
	for len(ports) < n {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// anyTaken reports whether somebody listens on one of the ports.
func anyTaken(ports []int) bool {
	return slices.ContainsFunc(ports, func(port int) bool { return portFree(port) != nil })
}

// portFree returns nil if a server could listen on port now.
func portFree(port int) error {
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return err
	}
	return listener.Close()
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func portText(r *Redis) string { return strconv.Itoa(r.proc.port) }
