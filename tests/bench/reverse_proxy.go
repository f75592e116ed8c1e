// The comparison in Go: httputil.ReverseProxy, decoding usage and keeping nothing.
//
//	reverse_proxy LISTEN UPSTREAM
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
)

var tokens int64

type answer struct {
	Usage *struct {
		TotalTokens int64 `json:"total_tokens"`
	} `json:"usage"`
}

func meter(body []byte) {
	var parsed answer
	if json.Unmarshal(body, &parsed) == nil && parsed.Usage != nil {
		atomic.AddInt64(&tokens, parsed.Usage.TotalTokens)
	}
}

// meteredStream decodes each event on its way through.
type meteredStream struct {
	io.Closer
	lines *bufio.Reader
	rest  []byte
}

func (s *meteredStream) Read(into []byte) (int, error) {
	if len(s.rest) == 0 {
		line, err := s.lines.ReadBytes('\n')
		if err != nil && len(line) == 0 {
			return 0, err
		}
		if bytes.HasPrefix(line, []byte("data: {")) {
			meter(line[6:])
			if blank, _ := s.lines.Peek(1); len(blank) == 1 && blank[0] == '\n' {
				s.lines.Discard(1)
				line = append(line, '\n')
			}
		}
		s.rest = line
	}
	n := copy(into, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func read(response *http.Response) error {
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		response.Body = &meteredStream{response.Body, bufio.NewReader(response.Body), nil}
		return nil
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	response.Body.Close()
	meter(body)
	response.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

func main() {
	target, err := url.Parse(os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.FlushInterval = -1
	proxy.ModifyResponse = read
	proxy.Transport = &http.Transport{MaxIdleConns: 2000, MaxIdleConnsPerHost: 2000, DisableCompression: true}
	log.Fatal(http.ListenAndServe(os.Args[1], proxy))
}
