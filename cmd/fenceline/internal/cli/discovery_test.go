package cli

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/fenceline/fenceline/cmd/fenceline/internal/app"
	"github.com/fenceline/fenceline/internal/etcdtest"
)

// domain has the process ask a DNS server of the test, which knows these SRV records and nothing else: a service's
// full name, and its "host:port".
func domain(t *testing.T, records map[string][]string) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		question := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(question)
			if err != nil {
				return
			}
			if answer, err := answerSRV(question[:n], records); err == nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	real := net.DefaultResolver
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
	t.Cleanup(func() {
		net.DefaultResolver = real
		conn.Close()
		<-done
	})
}

func answerSRV(question []byte, records map[string][]string) ([]byte, error) {
	var msg dnsmessage.Message
	if err := msg.Unpack(question); err != nil {
		return nil, err
	}
	q := msg.Questions[0]
	found := records[q.Name.String()]
	msg.Response, msg.Additionals = true, nil
	if len(found) == 0 {
		msg.RCode = dnsmessage.RCodeNameError
	}
	for _, record := range found {
		host, port, _ := strings.Cut(record, ":")
		number, _ := strconv.ParseUint(port, 10, 16)
		msg.Answers = append(msg.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
			Body:   &dnsmessage.SRVResource{Target: dnsmessage.MustNewName(host + "."), Port: uint16(number)},
		})
	}
	return msg.Pack()
}

func TestMembersAreFoundByTheirDomain(t *testing.T) {
	m := etcdtest.Shared(t)
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(m.Endpoint(), "http://"))
	domain(t, map[string][]string{"_etcd-client._tcp.example.com.": {"localhost:" + port}})
	if err := pingWith(t, "--discovery-srv", "example.com"); err != nil {
		t.Error(err)
	}
}

func TestMembersOfADomainThatSpeakTLSAreTakenFirst(t *testing.T) {
	domain(t, map[string][]string{
		"_etcd-client._tcp.example.com.":     {"a.example.com:1", "b.example.com:1"},
		"_etcd-client-ssl._tcp.example.com.": {"a.example.com:2"},
	})
	cfg, err := flags(t, "--discovery-srv", "example.com").Config()
	if err != nil || strings.Join(cfg.Endpoints, " ") != "https://a.example.com:2" || cfg.TLS == nil {
		t.Errorf("%q, TLS %v, %v", cfg.Endpoints, cfg.TLS != nil, err)
	}
}

func TestDomainWithoutMembersIs69(t *testing.T) {
	domain(t, nil)
	err := pingWith(t, "--discovery-srv", "example.com")
	if app.ExitCode(err) != app.ExitUnavailable || !strings.Contains(err.Error(), "--discovery-srv example.com: ") {
		t.Errorf("code %d: %v", app.ExitCode(err), err)
	}
}
