package devstack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
)

// FreePort returns a TCP port of 127.0.0.1 on which no program listens. The port lies below the range that the system
// assigns to outgoing connections (from 32768 on Linux, from 49152 on macOS), so that no client connection occupies the
// port of a server that is stopped for a while. Another program may still take the port before the caller listens on
// it.
func FreePort() (int, error) {
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

// freePorts returns n different ports; see FreePort.
func freePorts(n int) ([]int, error) {
	var ports []int
	for len(ports) < n {
		port, err := FreePort()
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ports, port) {
			ports = append(ports, port)
		}
	}
	return ports, nil
}

// anyTaken reports whether a program listens on one of the ports.
func anyTaken(ports []int) bool {
	return slices.ContainsFunc(ports, func(port int) bool { return portFree(port) != nil })
}

// portFree returns nil if a server could listen on the port now.
func portFree(port int) error {
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return err
	}
	return listener.Close()
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func portText(r *Redis) string { return strconv.Itoa(r.proc.port) }
