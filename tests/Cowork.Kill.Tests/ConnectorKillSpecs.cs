using System.Collections.Concurrent;
using System.Net;
using System.Text;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Hosts that are killed while a service gives them tokens, and while programs serve them.</summary>
public sealed class ConnectorKillSpecs : DirectorySpecs
{
    const string Connections = "/api/v1/connectors/connections";

    const string OAuth = "/api/v1/connectors/oauth";

    [Fact]
    public async Task A_host_killed_in_a_refresh_loses_the_rotated_token_and_the_connection_says_to_agree_again_without_a_loop()
    {
        await using var service = new TokenServer();
        var database = await TestPostgres.NewDatabase();
        string id;
        long killed;
        await using (var host = await HostProcess.Start(Data, database, environment: service.Environment))
        {
            Assert.Contains("is connected", (await Agree(host)).Text, StringComparison.Ordinal);
            id = (await host.Http.Get(Connections)).Is(200).Json.GetProperty("data")[0].GetProperty("id").GetString()!;
            // The service takes the token no more, and gives another one for the refresh token, whose answer does not come.
            (service.RefusesTokens, service.HoldsAnswers) = (true, true);
            var testing = host.Http.Post($"{Connections}/{id}/test");
            await Patience.Until(() => service.Refreshes == 1);
            await host.Kill();
            killed = TimeProvider.System.GetTimestamp();
            await Assert.ThrowsAnyAsync<Exception>(async () => await testing);
            (service.RefusesTokens, service.HoldsAnswers) = (false, false);
        }
        await using (var next = await HostProcess.Start(Data, database, environment: service.Environment))
        {
            // The attempt that was lost holds its place for a while; until then a request is told so, and asks for nothing.
            Got waiting;
            do
            {
                waiting = (await next.Http.Post($"{Connections}/{id}/test")).Is(200);
                Assert.Equal("error", waiting["status"]);
            }
            // A host that has just begun may be too slow to ask in time.
            while (waiting["status_detail"].EndsWith("did not answer in time.", StringComparison.Ordinal) && TimeProvider.System.GetElapsedTime(killed) < TimeSpan.FromSeconds(40));
            if (TimeProvider.System.GetElapsedTime(killed) < TimeSpan.FromSeconds(40))
            {
                Assert.Equal("Its tokens are being refreshed by another request, or by one that was interrupted. Try again in a minute.", waiting["status_detail"]);
                Assert.Equal(1, service.Refreshes);
            }
            var told = await Patience.Until(
                async () => (await next.Http.Post($"{Connections}/{id}/test")).Is(200), got => got["status_detail"].Contains("Start it again", StringComparison.Ordinal),
                got => got.Text);
            Assert.Equal(("error", "The authorization has ended there. Start it again for this connection."), (told["status"], told["status_detail"]));
            Assert.Equal(2, service.Refreshes);
            for (var i = 0; i < 3; i++)
            {
                Assert.Equal("error", (await next.Http.Post($"{Connections}/{id}/test")).Is(200)["status"]);
            }
            Assert.Equal(2, service.Refreshes);
            var events = (await next.Http.Get("/events?since_id=0&limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray()
                .Select(e => e.GetProperty("type").GetString()).Where(type => type!.StartsWith("connection_refresh", StringComparison.Ordinal));
            Assert.Equal(["connection_refresh_started", "connection_refresh_started", "connection_refresh_failed"], events);
            Assert.Contains("is connected", (await Agree(next, $"?connection_id={id}")).Text, StringComparison.Ordinal);
            Assert.Equal("connected", (await next.Http.Post($"{Connections}/{id}/test")).Is(200)["status"]);
            Assert.Equal(2, service.Refreshes);
        }
    }

    [Fact]
    public async Task A_host_killed_in_a_callback_tries_the_code_no_second_time_and_the_user_starts_again()
    {
        await using var service = new TokenServer { HoldsAnswers = true };
        var database = await TestPostgres.NewDatabase();
        string path;
        await using (var host = await HostProcess.Start(Data, database, environment: service.Environment))
        {
            path = await Callback(host, "?name=lost");
            var answering = host.Http.Get(path);
            await Patience.Until(() => service.Exchanges == 1);
            await host.Kill();
            await Assert.ThrowsAnyAsync<Exception>(async () => await answering);
            service.HoldsAnswers = false;
        }
        await using (var next = await HostProcess.Start(Data, database, environment: service.Environment))
        {
            var again = await next.Http.Get(path);
            Assert.Equal(HttpStatusCode.Conflict, again.Status);
            Assert.Contains("This link was used before", again.Text, StringComparison.Ordinal);
            Assert.Contains("Start the authorization again", again.Text, StringComparison.Ordinal);
            Assert.Equal(1, service.Exchanges);
            Assert.Equal("0", (await next.Http.Get(Connections)).Is(200)["total"]);
            var events = (await next.Http.Get("/events?since_id=0&limit=1000")).Is(200).Json.GetProperty("events").EnumerateArray()
                .Select(e => e.GetProperty("type").GetString()).Where(type => type!.StartsWith("authorization", StringComparison.Ordinal));
            Assert.Equal(["authorization_requested", "authorization_answered"], events);
            Assert.Contains("is connected", (await Agree(next)).Text, StringComparison.Ordinal);
            Assert.Equal("1", (await next.Http.Get(Connections)).Is(200)["total"]);
        }
    }

    [Fact]
    public async Task What_a_killed_host_left_of_its_programs_goes_at_the_next_start()
    {
        const string Where = """
            import json, os, sys
            for line in sys.stdin:
                message = json.loads(line)
                method, result = message.get("method"), None
                if method == "initialize":
                    result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "w", "version": "1"}}
                elif method == "tools/list":
                    result = {"tools": [{"name": "where", "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}]}
                elif method == "tools/call":
                    result = {"content": [{"type": "text", "text": "I am in <" + os.getcwd() + ">"}]}
                answer = {"result": result} if result is not None else {"error": {"code": -32601, "message": "no such method"}}
                if "id" in message: print(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}), flush=True)
            """;
        var folders = Directory.CreateDirectory(TestPostgres.NewDirectory()).FullName;
        (string, string)[] environment =
        [
            ("TMPDIR", folders), ("Cowork__Connectors__McpCommands__where__Command", "python3"), ("Cowork__Connectors__McpCommands__where__Arguments__0", "-c"),
            ("Cowork__Connectors__McpCommands__where__Arguments__1", Where),
        ];
        try
        {
            var database = await TestPostgres.NewDatabase();
            static string FolderIn(Got turn) => turn.Is(200)["reply"].Split('<')[1].Split('>')[0];
            string left;
            await using (var host = await HostProcess.Start(Data, database, environment: environment))
            {
                Assert.Equal("connected", (await host.Http.Post(Connections, """{"spec_id":"mcp","name":"where","credentials":{"command":"where"}}""")).Is(201)["status"]);
                await host.Http.NewSession("killed");
                left = FolderIn(await host.Http.Turn("killed", "/tool mcp__where__where {}"));
                Assert.StartsWith(Path.Combine(folders, "cowork-mcp-"), left, StringComparison.Ordinal);
                await host.Kill();
            }
            Assert.True(Directory.Exists(left));
            await using (var next = await HostProcess.Start(Data, database, environment: environment))
            {
                await Patience.Until(() => !Directory.Exists(left));
                Assert.NotEqual(left, FolderIn(await next.Http.Turn("killed", "/tool mcp__where__where {}")));
                Assert.Equal(0, await next.Stop());
            }
            Assert.Empty(Directory.GetFileSystemEntries(folders, "cowork-mcp-*"));
        }
        finally
        {
            Directory.Delete(folders, recursive: true);
        }
    }

    static async Task<string> Callback(HostProcess host, string query = "")
    {
        var start = (await host.Http.Get($"{OAuth}/github/start{query}")).Is(200);
        return $"{OAuth}/callback?state={Uri.EscapeDataString(start["state"])}&code=c0de";
    }

    static async Task<Got> Agree(HostProcess host, string query = "") => await host.Http.Get(await Callback(host, query));

    /// <summary>A service whose refresh tokens are worth something once, and whose answers can be held back for ever.</summary>
    sealed class TokenServer : IAsyncDisposable
    {
        readonly HttpListener listener;
        readonly Task serving;
        readonly ConcurrentDictionary<string, bool> spent = new();
        int given;
        int refreshes;
        int exchanges;

        public TokenServer()
        {
            (listener, Port) = HttpListeners.Start();
            serving = Serve();
        }

        public int Port { get; }

        /// <summary>Settings of a host that is registered there.</summary>
        public (string, string)[] Environment =>
        [
            ("Cowork__Egress__Allow__0", $"127.0.0.1:{Port}"), ("Cowork__Connectors__OAuth__GitHub__ClientId", "cowork"), ("Cowork__Connectors__OAuth__GitHub__ClientSecret", "hush"),
            ("Cowork__Connectors__OAuth__GitHub__Authorize", $"http://127.0.0.1:{Port}/authorize"), ("Cowork__Connectors__OAuth__GitHub__Token", $"http://127.0.0.1:{Port}/token"),
            ("Cowork__Connectors__OAuth__GitHub__Api", $"http://127.0.0.1:{Port}/api"),
        ];

        public bool RefusesTokens { get; set; }

        public bool HoldsAnswers { get; set; }

        /// <summary>How often a refresh token came.</summary>
        public int Refreshes => Volatile.Read(ref refreshes);

        /// <summary>How often an authorization code came.</summary>
        public int Exchanges => Volatile.Read(ref exchanges);

        public async ValueTask DisposeAsync()
        {
            listener.Close();
            await serving;
        }

        async Task Serve()
        {
            try
            {
                while (true)
                {
                    var http = await listener.GetContextAsync();
                    _ = Answer(http);
                }
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
            {
                // It ends.
            }
        }

        async Task Answer(HttpListenerContext http)
        {
            try
            {
                var isToken = http.Request.Url!.AbsolutePath == "/token";
                var (status, body) = isToken ? Tokens(await new StreamReader(http.Request.InputStream).ReadToEndAsync())
                    : RefusesTokens || http.Request.Headers["Authorization"] != $"Bearer access-{Volatile.Read(ref given)}" ? (401, "{}")
                    : (200, """{"login":"ann"}""");
                if (isToken && HoldsAnswers)
                {
                    // Who asked is killed before it is told.
                    return;
                }
                (http.Response.StatusCode, http.Response.ContentType) = (status, "application/json");
                await http.Response.OutputStream.WriteAsync(Encoding.UTF8.GetBytes(body));
                http.Response.Close();
            }
            catch (Exception e) when (e is HttpListenerException or ObjectDisposedException or IOException or InvalidOperationException)
            {
                // Nobody waits for it any more.
            }
        }

        (int, string) Tokens(string form)
        {
            var fields = form.Split('&').Select(pair => pair.Split('=', 2)).ToDictionary(pair => pair[0], pair => WebUtility.UrlDecode(pair[1]));
            if (fields["grant_type"] == "refresh_token")
            {
                Interlocked.Increment(ref refreshes);
                if (!spent.TryAdd(fields["refresh_token"], true))
                {
                    return (400, """{"error":"invalid_grant"}""");
                }
            }
            else
            {
                Interlocked.Increment(ref exchanges);
            }
            var number = Interlocked.Increment(ref given);
            return (200, $$"""{"access_token":"access-{{number}}","refresh_token":"refresh-{{number}}","expires_in":3600,"token_type":"bearer"}""");
        }
    }
}
