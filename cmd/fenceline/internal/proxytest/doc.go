// Package proxytest runs the library through etcd's own proxy (`etcd grpc-proxy`), which gives watches IDs of its own,
// ignores progress requests, answers serializable reads from a cache and renewals from its own keep-alives.
package proxytest
