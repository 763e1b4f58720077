{{/* Protocol 004 on loopback: bodies pass through the picker both ways. A pick is taken from metadata, which no client can write. */}}
{{- define "igw.envoy" -}}
admin:
  address: {socket_address: {address: 127.0.0.1, port_value: 19000}}
static_resources:
  listeners:
  - name: inference
    address: {socket_address: {address: {{ .Values.bindAddress | quote }}, port_value: {{ .Values.proxy.port }}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: inference
          use_remote_address: true
          normalize_path: true
          merge_slashes: true
          stream_idle_timeout: 600s
          http_protocol_options: {allow_chunked_length: false}
          route_config:
            name: routes
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: picked, timeout: 0s}
          http_filters:
          - name: endpoint_picker
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
              grpc_service: {envoy_grpc: {cluster_name: epp}}
              failure_mode_allow: false
              message_timeout: 600s
              metadata_options: {receiving_namespaces: {untyped: [envoy.lb]}}
              processing_mode:
                request_header_mode: SEND
                request_body_mode: FULL_DUPLEX_STREAMED
                request_trailer_mode: SEND
                response_header_mode: SEND
                response_body_mode: FULL_DUPLEX_STREAMED
                response_trailer_mode: SEND
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  - name: readiness
    address: {socket_address: {address: {{ .Values.bindAddress | quote }}, port_value: 19001}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: readiness
          route_config: {name: none}
          http_filters:
          - name: envoy.filters.http.health_check
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck
              pass_through_mode: false
              headers: [{name: ":path", string_match: {exact: /ready}}]
              cluster_min_healthy_percentages: {epp: {value: 100}}
          - name: envoy.filters.http.router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: epp
    type: STATIC
    connect_timeout: 1s
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {connection_keepalive: {interval: 1s, timeout: 2s}}}
    circuit_breakers: {thresholds: [{max_connections: 65536, max_pending_requests: 65536, max_requests: 65536}]}
    health_checks:
    - grpc_health_check: {service_name: envoy.service.ext_proc.v3.ExternalProcessor}
      timeout: 1s
      interval: 2s
      no_traffic_interval: 2s
      unhealthy_threshold: 2
      healthy_threshold: 1
    load_assignment:
      cluster_name: epp
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: {{ ternary "::1" "127.0.0.1" (contains ":" .Values.bindAddress) | quote }}, port_value: 9002}}}}]}]
  - name: picked
    type: ORIGINAL_DST
    connect_timeout: 1s
    lb_policy: CLUSTER_PROVIDED
    original_dst_lb_config: {metadata_key: {key: envoy.lb, path: [{key: x-gateway-destination-endpoint}]}}
    circuit_breakers: {thresholds: [{max_connections: 65536, max_pending_requests: 65536, max_requests: 65536}]}
    {{- if eq .Values.inferencePool.appProtocol "kubernetes.io/h2c" }}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    {{- end }}
{{- end }}
