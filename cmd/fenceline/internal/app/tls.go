package app

import (
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// secure turns TLS on where the scheme of the endpoints asks for it, or, if they have none, any certificate flag does.
// etcdctl would go on in plaintext.
func (c *Connection) secure(endpoints []string) (*clientv3.SecureConfig, error) {
	if (c.cert == "") != (c.key == "") {
		return nil, UsageErrorf("--cert and --key need each other")
	}
	secure := speaksTLS(endpoints[0])
	for _, endpoint := range endpoints[1:] {
		if speaksTLS(endpoint) != secure {
			return nil, UsageErrorf("endpoints %s and %s: either all speak TLS or none", endpoints[0], endpoint)
		}
	}
	// The client ignores certificates where the scheme is http.
	certificates := c.caCert != "" || c.cert != "" || c.skipVerify || !c.plaintext
	if !c.plaintext && !secure && strings.HasPrefix(endpoints[0], "http://") {
		return nil, UsageErrorf("--insecure-transport=false and endpoint %s: that one speaks no TLS", endpoints[0])
	}
	return &clientv3.SecureConfig{Cert: c.cert, Key: c.key, Cacert: c.caCert, InsecureTransport: !secure && !certificates,
		InsecureSkipVerify: c.skipVerify}, nil
}

func speaksTLS(endpoint string) bool {
	return strings.HasPrefix(endpoint, "https://") || strings.HasPrefix(endpoint, "unixs:")
}

// PreferSecure leaves plaintext endpoints out if there are others: a domain may list both for the same members.
func PreferSecure(endpoints []string) []string {
	var secure []string
	for _, endpoint := range endpoints {
		if speaksTLS(endpoint) {
			secure = append(secure, endpoint)
		}
	}
	if secure == nil {
		return endpoints
	}
	return secure
}
