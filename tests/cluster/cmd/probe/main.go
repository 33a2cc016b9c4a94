// Command probe is the server and the client that the cluster's own test puts into pods.
//
//	probe serve TEXT        answers every request with TEXT and the name of the pod
//	probe get ADDRESS       prints what an address answers; fails where none comes within two seconds
//	probe ask ADDRESS       asks an address thirty times, by a connection of its own each time
//	probe lookup NAME       prints the addresses of a name
//	probe echo PORT         sends back what it is sent, over TCP
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

const bound = 2 * time.Second

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: probe serve TEXT | get ADDRESS | ask ADDRESS | lookup NAME | echo PORT")
		os.Exit(2)
	}
	verbs := map[string]func(string) error{"serve": serve, "get": get, "ask": ask, "lookup": lookup, "echo": echo}
	verb, found := verbs[os.Args[1]]
	if !found {
		fmt.Fprintln(os.Stderr, "there is no verb", os.Args[1])
		os.Exit(2)
	}
	if err := verb(os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func serve(text string) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	fmt.Println("serving", text)
	return http.ListenAndServe(":8080", http.HandlerFunc(func(writer http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(writer, text, name)
	}))
}

func get(address string) error {
	client := http.Client{Timeout: bound, Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Get(address)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	return nil
}

func ask(address string) error {
	for range 30 {
		if err := get(address); err != nil {
			return err
		}
	}
	return nil
}

func lookup(name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, name)
	if err != nil {
		return err
	}
	fmt.Println(strings.Join(addresses, " "))
	return nil
}

func echo(port string) error {
	listener, err := net.Listen("tcp", ":"+port)
	if err != nil {
		return err
	}
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer connection.Close()
			_, _ = io.Copy(connection, connection)
		}()
	}
}
