package registry

import (
	"errors"
	"net"
	"strings"
	"testing"
)

func TestAddressesThatNobodyCanReachAreRefused(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:80", "[::]:80", "[::ffff:0.0.0.0]:80"} {
		if _, err := (Instance{Addr: addr}).checked(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "Reachable") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{"", ":80", "a", "a:0", "a:65536", "a:x", "*:80", "a,b:80", "a@b:80", "a b:80", `"x":80`, "a/b:80", "a?b:80", "[abc]x:80", "-a:80", ".a:80", "http://a:80"} {
		if _, err := (Instance{Addr: addr}).checked(); !errors.Is(err, ErrInvalid) || strings.Contains(err.Error(), "Reachable") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	for _, addr := range []string{"10.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80", "a:80", "a-1.b_c.example.:65535", "bücher.example:80", "127.0.0.1:1"} {
		if _, err := (Instance{Addr: addr}).checked(); err != nil {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestReachableIsAnAddressToRegister(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		l, err := net.Listen("tcp", listen)
		if err != nil {
			t.Log(err)
			continue
		}
		defer l.Close()
		addr, err := Reachable(l)
		if err != nil {
			t.Logf("%s: %v", listen, err) // a machine with nothing but its loopback
			continue
		}
		if _, err := (Instance{Addr: addr}).checked(); err != nil {
			t.Errorf("%s: %s: %v", listen, addr, err)
		}
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Errorf("%s: %v", listen, err)
			continue
		}
		c.Close()
	}
}
