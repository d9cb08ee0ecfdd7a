// Package certmagic holds adapt.Certmagic to what it says, under certmagic and against a real etcd. It has tests only.
package certmagic
