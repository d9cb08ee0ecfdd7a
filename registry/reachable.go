package registry

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Reachable is the address, as host:port, at which others find a listener: its own, or, if it listens at every address of the machine,
// as 0.0.0.0:8080 and [::]:8080 do, that from which the machine would send to others, and its port. It sends nothing. Behind a
// translation of addresses, or with several networks, only a person knows which is right. It fails where the machine has no
// address but those of its loopback, and for a listener that has none with a port.
func Reachable(l net.Listener) (string, error) {
	addr, ok := l.Addr().(*net.TCPAddr)
	if !ok {
		return "", fmt.Errorf("registry: %v is no address with a port", l.Addr())
	}
	if !addr.IP.IsUnspecified() {
		return addr.String(), nil
	}
	ip, err := outward()
	if err != nil {
		return "", fmt.Errorf("registry: no address at which others reach %v: %w", addr, err)
	}
	return net.JoinHostPort(ip.String(), strconv.Itoa(addr.Port)), nil
}

// outward is the address that the routes of this machine say it has for others. The destinations are set aside for examples.
func outward() (netip.Addr, error) {
	for _, to := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		conn, err := net.Dial("udp", to) // which only looks up the route
		if err != nil {
			continue
		}
		from, err := netip.ParseAddrPort(conn.LocalAddr().String())
		_ = conn.Close()
		if err == nil && !from.Addr().IsLoopback() {
			return from.Addr(), nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, err
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().IsGlobalUnicast() {
			return prefix.Addr(), nil
		}
	}
	return netip.Addr{}, errors.New("it has none but that of its loopback")
}
