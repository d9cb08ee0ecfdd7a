// Package goose holds adapt.Goose to what it says, under goose, with SQLite and a real etcd. It has tests only.
package goose
