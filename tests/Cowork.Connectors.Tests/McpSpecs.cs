using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.ComponentModel;
using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Domain;
using Cowork.Testing;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

using ModelContextProtocol.Server;

namespace Cowork.Connectors.Tests;

/// <summary>The tools of MCP servers: real ones over HTTP and over pipes, and ones that crash, lie, flood and keep silent.</summary>
public sealed class McpSpecs
{
    static readonly DateTimeOffset At = new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero);

    [Fact]
    public async Task The_tools_of_a_real_server_are_listed_and_called()
    {
        await using var server = await RealServer.Start();
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        var settings = Settings(("url", server.Url), ("bearer", "s3cr3t-token"), ("headers", "X-Team: sales"));
        Assert.Null((await mcp.Probe(settings, CancellationToken.None)).WhyNot);
        var table = Assert.IsType<ConnectorAnswer.Table>(await Ask(mcp, settings, new ConnectorRequest.Schema()));
        Assert.Equal(["tool", "effect", "description", "input"], table.Columns);
        Assert.Equal(["add_order write Adds an order.", "find_order read Finds an order."], table.Rows.Select(row => $"{row[0]} {row[1]} {row[2]}").Order(StringComparer.Ordinal));
        Assert.Contains("\"number\"", table.Rows[0][3], StringComparison.Ordinal);
        var tools = Assert.IsType<ConnectorAnswer.Tools>(await Ask(mcp, settings, new ConnectorRequest.Tools()));
        Assert.Equal(
            ["add_order False Adds an order.", "find_order True Finds an order."],
            tools.Listed.Select(tool => $"{tool.Name} {tool.IsRead} {tool.Description}").Order(StringComparer.Ordinal));
        Assert.All(tools.Listed, tool => Assert.Null(OutsideToolSchema.Of(tool.InputSchema).WhyNot));
        Assert.Empty(tools.Unusable);
        Assert.Contains("find_order (read): Finds an order.", Text(await Ask(mcp, settings, new ConnectorRequest.Sample("find_order", 1))), StringComparison.Ordinal);
        Assert.Equal("order 7", Text(await Ask(mcp, settings, Read("find_order", """{"number":7}"""))));
        Assert.Equal("added 8", Text(await Ask(mcp, settings, Write("add_order", """{"number":8}"""))));
        Assert.All(server.Headers, headers => Assert.Equal(("Bearer s3cr3t-token", "sales"), headers));
    }

    [Fact]
    public async Task A_tool_that_its_server_calls_read_only_is_a_read_and_all_others_need_an_approval()
    {
        await using var server = await RealServer.Start();
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        var settings = Settings(("url", server.Url));
        async Task<ConnectorEffect> Judge(ConnectorRequest request) => await mcp.Judge(settings, request, CancellationToken.None);
        Assert.Equal(ConnectorEffect.Read, await Judge(Read("find_order")));
        Assert.Equal(ConnectorEffect.Write, await Judge(Read("add_order")));
        var refused = Assert.IsType<ConnectorAnswer.Failed>(await Ask(mcp, settings, Read("add_order", """{"number":9}""")));
        Assert.Equal("By now the server says that the tool add_order may change something: call it again, so that a person is asked.", refused.Reason);
        Assert.Empty(server.Added);
        Assert.StartsWith("The server has no such tool by now. It has ", Reason(await Ask(mcp, settings, Write("drop_all"))), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Other_tools_of_a_server_that_was_started_anew_are_seen_at_once()
    {
        var first = await RealServer.Start();
        await using var mcp = new McpConnector(first.Fence, NoCommands, TimeProvider.System);
        var settings = Settings(("url", first.Url));
        Assert.Equal("order 7", Text(await Ask(mcp, settings, Read("find_order", """{"number":7}"""))));
        await first.DisposeAsync();
        var away = Assert.IsType<ConnectorAnswer.Failed>(await Ask(mcp, settings, new ConnectorRequest.Schema()));
        Assert.True(away.IsUnreachable);
        await using var second = await RealServer.Start(first.Port, withSearch: true);
        var table = Assert.IsType<ConnectorAnswer.Table>(await Ask(mcp, settings, new ConnectorRequest.Schema()));
        Assert.Contains(table.Rows, row => row[0] == "search_orders");
        Assert.Equal("found", Text(await Ask(mcp, settings, Read("search_orders"))));
    }

    [Fact]
    public async Task A_server_inside_is_not_reached()
    {
        await using var server = await RealServer.Start();
        await using var mcp = new McpConnector(new([], [], TimeProvider.System), NoCommands, TimeProvider.System);
        foreach (var host in (string[])["127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]", "0x7f000001"])
        {
            var settings = Settings(("url", $"http://{host}:{server.Port}/mcp"));
            Assert.Contains("lies where connections may not reach", (await mcp.Probe(settings, CancellationToken.None)).WhyNot, StringComparison.Ordinal);
            Assert.Contains("lies where connections may not reach", Reason(await Ask(mcp, settings, new ConnectorRequest.Schema())), StringComparison.Ordinal);
        }
        Assert.Empty(server.Headers);
    }

    [Fact]
    public async Task A_redirect_takes_the_credentials_nowhere()
    {
        await using var inside = new WebServer(request => request.Answer(200, "{}"));
        await using var server = new WebServer(request => request.Redirect($"http://127.0.0.1:{inside.Port}/mcp", 307));
        await using var mcp = new McpConnector(server.Fence(), NoCommands, TimeProvider.System);
        Assert.Contains("it answers 307", Reason(await Ask(mcp, Settings(("url", server.Url), ("bearer", "s3cr3t-token")), new ConnectorRequest.Schema())), StringComparison.Ordinal);
        Assert.Empty(inside.Asked);
    }

    [Theory]
    [InlineData(401, "it answers 401")]
    [InlineData(404, "it answers 404")]
    [InlineData(500, "it answers 500")]
    public async Task A_server_that_refuses_is_told_plainly(int status, string why)
    {
        await using var server = new WebServer(request => request.Answer(status, "<html>secret page</html>", "text/html"));
        await using var mcp = new McpConnector(server.Fence(), NoCommands, TimeProvider.System);
        Assert.Equal($"127.0.0.1:{server.Port}: {why}.", (await mcp.Probe(Settings(("url", server.Url)), CancellationToken.None)).WhyNot);
    }

    [Fact]
    public async Task A_server_that_never_answers_is_left_after_the_time()
    {
        var clock = new TestClock();
        await using var server = new WebServer(request => request.Forever());
        await using var mcp = new McpConnector(server.Fence(clock), NoCommands, clock);
        var probing = mcp.Probe(Settings(("url", server.Url)), CancellationToken.None).AsTask();
        await Patience.Until(() => !server.Asked.IsEmpty);
        clock.Advance(ConnectorLimits.ProbeTime);
        Assert.Equal($"127.0.0.1:{server.Port}: it did not answer in time.", (await probing).WhyNot);
        var asking = Ask(mcp, Settings(("url", server.Url)), new ConnectorRequest.Schema());
        await Patience.Until(() => server.Asked.Count >= 2);
        clock.Advance(ConnectorLimits.AskTime);
        Assert.Equal(new ConnectorAnswer.Failed($"127.0.0.1:{server.Port}: it did not answer in time.", IsUnreachable: true), await asking);
    }

    [Theory]
    [InlineData("application/json", "")]
    [InlineData("text/event-stream", "data: ")]
    public async Task A_server_that_sends_100_MB_is_left_after_4(string type, string prefix)
    {
        var sent = 0L;
        await using var server = new HostileServer((method, id) => method == "tools/list" ? null : HostileServer.Usual(method), async (request, method) =>
        {
            await request.Head(200, type);
            await request.Send(Encoding.UTF8.GetBytes($$"""{{prefix}}{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"type":"object"},"description":" """));
            var block = Encoding.ASCII.GetBytes(new string('x', 1 << 20));
            for (var i = 0; i < 100; i++)
            {
                await request.Send(block);
                sent += block.Length;
            }
        });
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        var before = GC.GetTotalAllocatedBytes();
        Assert.Equal($"127.0.0.1:{server.Port}: it sent a message of more than 4 MiB.", Reason(await Ask(mcp, Settings(("url", server.Url)), new ConnectorRequest.Schema())));
        Assert.InRange(sent, 0, 50 << 20);
        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 200 << 20);
    }

    [Theory]
    [InlineData("""{"tools":"none"}""")]
    [InlineData("""{"tools":[7]}""")]
    [InlineData("""[]""")]
    [InlineData("\"text\"")]
    public async Task A_list_of_tools_that_is_none_is_told(string result)
    {
        await using var server = new HostileServer((method, id) => method == "tools/list" ? result : HostileServer.Usual(method));
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        Assert.Equal($"127.0.0.1:{server.Port}: it answers what is no message of MCP.", Reason(await Ask(mcp, Settings(("url", server.Url)), new ConnectorRequest.Schema())));
    }

    [Fact]
    public async Task One_malformed_tool_takes_nothing_from_the_others()
    {
        await using var server = new HostileServer((method, id) => method == "tools/list"
            ? """
              {"tools":[null,7,{"name":7},{"inputSchema":{}},{"name":"bare"},{"name":"seven","inputSchema":7,"annotations":7,"description":[]},
              {"name":"half","description":"\ud800"},{"name":"fine","inputSchema":{"type":"object"},"description":"Fine."}],"nextCursor":7}
              """
            : HostileServer.Usual(method));
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        var table = Assert.IsType<ConnectorAnswer.Table>(await Ask(mcp, Settings(("url", server.Url)), new ConnectorRequest.Schema()));
        Assert.Equal(["bare write  {}", "seven write  {}", """fine write Fine. {"type":"object"}"""], table.Rows.Select(row => string.Join(' ', row)));
        var tools = Assert.IsType<ConnectorAnswer.Tools>(await Ask(mcp, Settings(("url", server.Url)), new ConnectorRequest.Tools()));
        Assert.Equal(["bare", "seven", "fine"], tools.Listed.Select(tool => tool.Name));
        Assert.Equal(Enumerable.Repeat("It is no tool, or has no name.", 5), tools.Unusable.Select(tool => tool.Reason));
    }

    [Theory]
    [InlineData("\"readOnlyHint\":true", ConnectorEffect.Read)]
    [InlineData("\"readOnlyHint\":true,\"destructiveHint\":false", ConnectorEffect.Read)]
    [InlineData("\"readOnlyHint\":true,\"destructiveHint\":true", ConnectorEffect.Write)]
    [InlineData("\"readOnlyHint\":true,\"destructiveHint\":\"yes\"", ConnectorEffect.Write)]
    [InlineData("\"readOnlyHint\":\"true\"", ConnectorEffect.Write)]
    [InlineData("", ConnectorEffect.Write)]
    public async Task A_tool_that_is_called_destructive_is_no_read_whatever_else_it_is_called(string annotations, ConnectorEffect effect)
    {
        await using var server = new HostileServer((method, _) =>
            method == "tools/list" ? $$"""{"tools":[{"name":"t","annotations":{ {{annotations}} } }]}""" : HostileServer.Usual(method));
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        Assert.Equal(effect, await mcp.Judge(Settings(("url", server.Url)), Read("t"), CancellationToken.None));
    }

    [Fact]
    public async Task A_server_that_speaks_something_else_is_told_as_what_it_is()
    {
        async Task<string?> WhyNot(Func<WebServer.Request, Task> answer)
        {
            await using var server = new WebServer(answer);
            await using var mcp = new McpConnector(server.Fence(), NoCommands, TimeProvider.System);
            return (await mcp.Probe(Settings(("url", server.Url)), CancellationToken.None)).WhyNot?.Split(": ", 2)[1];
        }
        Assert.Equal("it answers text/html, which is no MCP: is the address right?", await WhyNot(
            request => request.Answer(200, "<html>Hello</html>", "text/html; charset=utf-8")));
        await using var future = new HostileServer((method, _) =>
            method == "initialize" ? HostileServer.Usual(method).Replace("2025-06-18", "1999-01-01", StringComparison.Ordinal) : "");
        await using var connector = new McpConnector(future.Fence, NoCommands, TimeProvider.System);
        var whyNot = (await connector.Probe(Settings(("url", future.Url)), CancellationToken.None)).WhyNot;
        Assert.EndsWith(": it speaks a version of MCP that is not known here.", whyNot, StringComparison.Ordinal);
        Assert.Equal("its answer has no reply to what it was asked.", await WhyNot(request => request.Answer(200, """{"jsonrpc":"2.0","id":4711,"result":{}}""")));
    }

    [Fact]
    public async Task Tools_with_odd_names_are_left_out_and_lists_without_end_are_cut()
    {
        await using var server = new HostileServer((method, id) => method == "tools/list"
            ? $$"""{"tools":[{{string.Join(',', Enumerable.Range(0, 100).Select(n => Odd($"tool_{id}_{n}")))}},{{Odd("bad name")}},{{Odd("")}}],"nextCursor":"more"}"""
            : HostileServer.Usual(method));
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        var table = Assert.IsType<ConnectorAnswer.Table>(await Ask(mcp, Settings(("url", server.Url)), new ConnectorRequest.Schema()));
        Assert.Equal(500, table.Rows.Count);
        Assert.Equal("The server has more tools: these are the first 500.", table.Cut);
        Assert.All(table.Rows, row =>
        {
            Assert.StartsWith("tool_", row[0], StringComparison.Ordinal);
            Assert.StartsWith("a\\u202eb ", row[2], StringComparison.Ordinal);
            Assert.True(row[2]!.Length <= 1_000);
        });
        var tools = Assert.IsType<ConnectorAnswer.Tools>(await Ask(mcp, Settings(("url", server.Url)), new ConnectorRequest.Tools()));
        Assert.Equal((500, "The server has more tools: these are the first 500."), (tools.Listed.Count, tools.Cut));
        Assert.Contains(tools.Unusable, tool => tool.Name == "bad name" && tool.Reason.StartsWith("Its name is none", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("""{"content":[{"type":"text","text":"first"},{"type":"text","text":"second"}]}""", "first\nsecond")]
    [InlineData("""{"content":[],"structuredContent":{"id":7}}""", """{"id":7}""")]
    [InlineData("""{"content":[{"type":"image","data":"iVBORw0KGgo=","mimeType":"image/png"}]}""", "(image/png, which is no text)")]
    [InlineData("""{"content":[{"type":"resource","resource":{"uri":"file:///a","text":"inside"}}]}""", "inside")]
    [InlineData("""{"content":[{"type":"resource_link","uri":"https://example.com/a","name":"A"}]}""", "A: https://example.com/a")]
    [InlineData("""{"content":[{"type":"hologram","data":"x"},{"type":"text","text":"second"},null,7,{"type":"resource","resource":null}]}""",
        "(content of an unknown kind)\nsecond\n(content of an unknown kind)\n(content of an unknown kind)\n(content of an unknown kind)")]
    public async Task What_a_tool_answers_is_text(string result, string text)
    {
        await using var server = HostileServer.WithTool(result);
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        Assert.Equal(text, Text(await Ask(mcp, Settings(("url", server.Url)), Read("t"))));
    }

    [Theory]
    [InlineData("""{"content":[{"type":"text","text":"no such order"}],"isError":true}""", "The tool failed: no such order")]
    [InlineData("""{"content":"text"}""", "it answers what is no message of MCP")]
    [InlineData("""{"content":[{"type":"text"}]}""", "")]
    [InlineData("""7""", "it answers what is no message of MCP")]
    public async Task A_tool_that_fails_or_answers_nonsense_is_told(string result, string why)
    {
        await using var server = HostileServer.WithTool(result);
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        var answer = await Ask(mcp, Settings(("url", server.Url)), Read("t"));
        Assert.Contains(why, answer is ConnectorAnswer.Failed failed ? failed.Reason : Text(answer), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_long_answer_is_cut()
    {
        await using var server = HostileServer.WithTool($$"""{"content":[{"type":"text","text":"{{new string('ä', 1 << 20)}}"}]}""");
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        var answer = Assert.IsType<ConnectorAnswer.Text>(await Ask(mcp, Settings(("url", server.Url)), Read("t")));
        Assert.Equal(("The answer is longer: this is its beginning.", ConnectorLimits.BytesMax), (answer.Cut, Encoding.UTF8.GetByteCount(answer.Content)));
    }

    [Fact]
    public async Task A_write_whose_connection_breaks_is_not_sent_again()
    {
        var calls = 0;
        await using var server = new HostileServer(
            (method, id) => method == "tools/call" ? null : method == "tools/list" ? """{"tools":[{"name":"t","inputSchema":{"type":"object"}}]}""" : HostileServer.Usual(method),
            (request, method) =>
            {
                calls++;
                return Task.CompletedTask;
            });
        await using var mcp = new McpConnector(server.Fence, NoCommands, TimeProvider.System);
        var settings = Settings(("url", server.Url));
        await Ask(mcp, settings, new ConnectorRequest.Schema());
        Assert.Equal($"127.0.0.1:{server.Port}: the connection to it broke off.", Reason(await Ask(mcp, settings, Write("t"))));
        Assert.Equal(1, calls);
    }

    [Fact]
    public async Task A_program_speaks_over_its_pipes_without_the_environment_of_this_host()
    {
        Environment.SetEnvironmentVariable("COWORK_SPEC_SECRET", "hush");
        await using var program = new Python();
        await using var mcp = new McpConnector(new([], [], TimeProvider.System), program.Commands, TimeProvider.System);
        var settings = Settings(("command", "honest"), ("variables", "ORDERS_TOKEN=t0ken"));
        Assert.Empty(mcp.Check(settings));
        Assert.Null((await mcp.Probe(settings, CancellationToken.None)).WhyNot);
        var seen = JsonNode.Parse(Text(await Ask(mcp, settings, Read("environment"))))!;
        var variables = seen["variables"]!.AsObject();
        Assert.Equal(
            ["FIXED", "HOME", "LANG", "ORDERS_TOKEN", "PATH", "TMPDIR"],
            variables.Select(variable => variable.Key).Where(name => name is not ("LC_CTYPE" or "PWD" or "SHLVL" or "_")).Order(StringComparer.Ordinal));
        Assert.Equal(("t0ken", "as configured"), ((string?)variables["ORDERS_TOKEN"], (string?)variables["FIXED"]));
        Assert.StartsWith(program.Folder, (string?)seen["folder"], StringComparison.Ordinal);
        if (Environment.IsPrivilegedProcess && File.Exists("/usr/bin/setpriv"))
        {
            Assert.Equal(65534, (int?)seen["user"]);
        }
        // One process serves the connection.
        Assert.Equal((string?)seen["process"], (string?)JsonNode.Parse(Text(await Ask(mcp, settings, Read("environment"))))!["process"]);
    }

    [Fact]
    public async Task A_program_has_no_open_file_of_this_host()
    {
        await using var program = new Python();
        var path = Path.Combine(program.Folder, "of-the-host");
        Directory.CreateDirectory(program.Folder);
        using var opened = File.Create(path);
        // A copy of a descriptor has lost its mark.
        var copy = dup((int)opened.SafeFileHandle.DangerousGetHandle());
        try
        {
            await using var mcp = new McpConnector(new([], [], TimeProvider.System), program.Commands, TimeProvider.System);
            var seen = JsonNode.Parse(Text(await Ask(mcp, Settings(("command", "honest")), Read("environment"))))!;
            Assert.Equal([0, 1, 2], seen["files"]!.AsObject().Where(file => (string?)file.Value != "").Select(file => int.Parse(file.Key, CultureInfo.InvariantCulture)).Order());
            Assert.DoesNotContain("of-the-host", seen["files"]!.ToJsonString(), StringComparison.Ordinal);
        }
        finally
        {
            _ = close(copy);
        }
    }

    [Fact]
    public async Task What_a_killed_host_left_of_its_programs_goes_when_another_starts_and_what_others_use_stays()
    {
        await using var program = new Python();
        Directory.CreateDirectory(program.Folder);
        string Folder(string name) => Directory.CreateDirectory(Path.Combine(program.Folder, $"cowork-mcp-{name}")).FullName;
        FileStream Lock(string name) => new(Path.Combine(program.Folder, $"cowork-mcp-{name}.lock"), new FileStreamOptions
        {
            Mode = FileMode.CreateNew,
            Access = FileAccess.ReadWrite,
            Share = FileShare.None,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        foreach (var name in (string[])["killed", "used", "older", "young"])
        {
            await File.WriteAllTextAsync(Path.Combine(Folder(name), "file"), "x");
        }
        Lock("killed").Dispose();
        Lock("bare").Dispose();
        await using var held = Lock("used");
        Directory.SetLastWriteTimeUtc(Folder("older"), DateTime.UnixEpoch);
        Directory.CreateDirectory(Path.Combine(program.Folder, "of-others"));
        await using var mcp = new McpConnector(new([], [], TimeProvider.System), program.Commands, TimeProvider.System);
        await Patience.Until(() => Left().Length == 4);
        Assert.Equal(["cowork-mcp-used", "cowork-mcp-used.lock", "cowork-mcp-young", "of-others"], Left());
        Assert.Null((await mcp.Probe(Settings(("command", "honest")), CancellationToken.None)).WhyNot);
        await Patience.Until(() => Left().Length == 4);

        string[] Left() => [.. Directory.GetFileSystemEntries(program.Folder).Select(entry => Path.GetFileName(entry)).Order(StringComparer.Ordinal)];
    }

    [Fact]
    public async Task A_program_that_crashes_is_started_anew()
    {
        await using var program = new Python();
        await using var mcp = new McpConnector(new([], [], TimeProvider.System), program.Commands, TimeProvider.System);
        var settings = Settings(("command", "honest"));
        Assert.IsType<ConnectorAnswer.Table>(await Ask(mcp, settings, new ConnectorRequest.Schema()));
        Assert.Contains("it ended with code 3: going down", Reason(await Ask(mcp, settings, Write("crash"))), StringComparison.Ordinal);
        Assert.IsType<ConnectorAnswer.Table>(await Ask(mcp, settings, new ConnectorRequest.Schema()));
    }

    [Theory]
    [InlineData("missing", "it cannot be started: is the program there?")]
    [InlineData("dies", "it ended with code 2: no configuration")]
    [InlineData("floods", "it sent a message of more than 4 MiB")]
    public async Task A_program_that_does_not_serve_is_told_plainly(string command, string why)
    {
        await using var program = new Python();
        await using var mcp = new McpConnector(new([], [], TimeProvider.System), program.Commands, TimeProvider.System);
        var probe = await mcp.Probe(Settings(("command", command)), CancellationToken.None);
        Assert.Contains(why, probe.WhyNot, StringComparison.Ordinal);
        Assert.StartsWith($"The command {command}: ", probe.WhyNot, StringComparison.Ordinal);
        await Patience.Until(() => !Directory.Exists(program.Folder) || Directory.GetDirectories(program.Folder).Length == 0);
    }

    [Theory]
    [InlineData("silent")]
    [InlineData("chatters")]
    public async Task A_program_that_never_answers_is_ended_after_the_time(string command)
    {
        var clock = new TestClock();
        await using var program = new Python();
        await using var mcp = new McpConnector(new([], [], clock), program.Commands, clock);
        var probing = mcp.Probe(Settings(("command", command)), CancellationToken.None).AsTask();
        await Patience.Until(() => Directory.Exists(program.Folder) && Directory.GetFiles(program.Folder, "started", SearchOption.AllDirectories).Length == 1);
        await Patience.Until(
            () =>
            {
                clock.Advance(TimeSpan.FromSeconds(1));
                return probing.IsCompleted;
            },
            "the probe is over", pause: 5);
        Assert.Equal($"The command {command}: it did not answer in time.", (await probing).WhyNot);
    }

    [Fact]
    public async Task A_program_that_says_when_its_tools_change_is_asked_again_then_and_another_one_each_time()
    {
        await using var program = new Python();
        await using var mcp = new McpConnector(new([], [], TimeProvider.System), program.Commands, TimeProvider.System);
        async Task<string> Tools(string command) =>
            string.Join(' ', Assert.IsType<ConnectorAnswer.Tools>(await Ask(mcp, Settings(("command", command)), new ConnectorRequest.Tools())).Listed.Select(tool => tool.Name));
        var settings = Settings(("command", "changes"));
        async Task<string> Listed() => string.Join(' ', Assert.IsType<ConnectorAnswer.Tools>(await Ask(mcp, settings, new ConnectorRequest.Tools())).Listed.Select(tool => tool.Name));
        Assert.Equal("list_1", await Listed());
        Assert.Equal("list_1", await Listed());
        Assert.Equal("list_1", await Listed());
        // It says so by itself, once the file is there.
        await File.WriteAllTextAsync(Path.Combine(Directory.GetDirectories(program.Folder).Single(), "change"), "");
        await Patience.Until(async () => await Listed() == "list_2");
        Assert.Equal("list_2", await Listed());
        Assert.Equal("list_2 was called", Text(await Ask(mcp, settings, Read("list_2"))));
        Assert.Equal("list_3", await Listed());
        Assert.Equal("environment crash", await Tools("honest"));
    }

    [Fact]
    public async Task An_idle_session_is_closed()
    {
        var clock = new TestClock();
        await using var program = new Python();
        await using var mcp = new McpConnector(new([], [], clock), program.Commands, clock);
        Assert.IsType<ConnectorAnswer.Table>(await Ask(mcp, Settings(("command", "honest")), new ConnectorRequest.Schema()));
        Assert.Single(Directory.GetDirectories(program.Folder));
        await Patience.Until(
            () =>
            {
                clock.Advance(TimeSpan.FromMinutes(1));
                return Directory.GetDirectories(program.Folder).Length == 0;
            },
            "the folder of the session is gone", pause: 20);
    }

    [Theory]
    [InlineData("", "url", "Give an address or a command.")]
    [InlineData("url=https://example.com command=honest", "url", "Give an address or a command.")]
    [InlineData("url=file:///etc/passwd", "url", "begins with https://")]
    [InlineData("url=https://ann:pw@example.com/", "url", "without a user")]
    [InlineData("command=/bin/sh", "command", "has configured changes, chatters, dies, floods, honest, missing, silent")]
    [InlineData("command=honest bearer=x", "bearer", "for an address")]
    [InlineData("command=honest headers=A:1", "headers", "Headers go with an address.")]
    [InlineData("url=https://example.com headers=A", "headers", "lines such as")]
    [InlineData("url=https://example.com variables=A=1", "variables", "none")]
    [InlineData("command=honest variables=LD_PRELOAD=/tmp/x.so", "variables", "ORDERS_TOKEN")]
    [InlineData("command=honest variables=ORDERS_TOKEN", "variables", "NAME=value")]
    public async Task Fields_that_do_not_go_together_are_told(string fields, string key, string why)
    {
        await using var program = new Python();
        await using var mcp = new McpConnector(new([], [], TimeProvider.System), program.Commands, TimeProvider.System);
        var fault = Assert.Single(mcp.Check(Settings([.. fields.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(pair => (pair.Split('=')[0], pair[(pair.IndexOf('=') + 1)..]))])));
        Assert.Equal(key, fault.Key);
        Assert.Contains(why, fault.Message, StringComparison.Ordinal);
    }

#pragma warning disable SYSLIB1054, IDE1006 // The names are those of the system calls.
    [DllImport("libc")]
    static extern int dup(int fd);

    [DllImport("libc")]
    static extern int close(int fd);
#pragma warning restore SYSLIB1054, IDE1006

    static string Odd(string name) => $$"""{"name":"{{name}}","description":"a\u202eb\n{{new string('d', 3_000)}}","inputSchema":{"type":"object"} }""";

    static McpCommands NoCommands { get; } = new(ImmutableDictionary<string, McpCommand>.Empty, Path.Combine(Path.GetTempPath(), "cowork-mcp-none"));

    static ConnectionSettings Settings(params (string Key, string Value)[] fields) =>
        new("acme", ConnectionKey.New(At), "mcp", fields.ToImmutableDictionary(field => field.Key, field => field.Value));

    static ConnectorRequest.Call Read(string tool, string arguments = "{}") => new(tool, JsonElement.Parse(arguments), MayWrite: false);

    static ConnectorRequest.Call Write(string tool, string arguments = "{}") => new(tool, JsonElement.Parse(arguments), MayWrite: true);

    static async Task<ConnectorAnswer> Ask(McpConnector mcp, ConnectionSettings settings, ConnectorRequest request) => await mcp.Ask(settings, request, CancellationToken.None);

    static string Text(ConnectorAnswer answer)
    {
        Assert.True(answer is ConnectorAnswer.Text, answer.ToString());
        return ((ConnectorAnswer.Text)answer).Content;
    }

    static string Reason(ConnectorAnswer answer)
    {
        Assert.True(answer is ConnectorAnswer.Failed, answer.ToString());
        return ((ConnectorAnswer.Failed)answer).Reason;
    }

    /// <summary>A server of ModelContextProtocol.AspNetCore.</summary>
    sealed class RealServer : IAsyncDisposable
    {
        readonly WebApplication app;

        RealServer(WebApplication app, int port) => (this.app, Port) = (app, port);

        public int Port { get; }

        public string Url => $"http://127.0.0.1:{Port}/mcp";

        public EgressFence Fence => new([EgressTarget.Parse($"127.0.0.1:{Port}")!], [], TimeProvider.System);

        public ConcurrentQueue<(string, string)> Headers { get; } = new();

        public ConcurrentQueue<int> Added => app.Services.GetRequiredService<ConcurrentQueue<int>>();

        public static async Task<RealServer> Start(int port = 0, bool withSearch = false)
        {
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            builder.WebHost.ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, port));
            builder.Services.AddSingleton<ConcurrentQueue<int>>();
            var mcp = builder.Services.AddMcpServer().WithHttpTransport().WithTools<Orders>();
            if (withSearch)
            {
                mcp.WithTools<Search>();
            }
            var app = builder.Build();
            RealServer? own = null;
            app.Use((context, next) =>
            {
                own!.Headers.Enqueue((context.Request.Headers.Authorization.ToString(), context.Request.Headers["X-Team"].ToString()));
                return next(context);
            });
            app.MapMcp("/mcp");
            await app.StartAsync();
            return own = new(app, new Uri(app.Urls.Single()).Port);
        }

        public async ValueTask DisposeAsync()
        {
            await app.StopAsync(new CancellationToken(canceled: true));
            await app.DisposeAsync();
        }
    }

    [McpServerToolType]
    sealed class Orders(ConcurrentQueue<int> added)
    {
        [McpServerTool(Name = "find_order", ReadOnly = true), Description("Finds an order.")]
        public static string Find(int number) => $"order {number}";

        [McpServerTool(Name = "add_order"), Description("Adds an order.")]
        public string Add(int number)
        {
            added.Enqueue(number);
            return $"added {number}";
        }
    }

    [McpServerToolType]
    sealed class Search
    {
        [McpServerTool(Name = "search_orders", ReadOnly = true), Description("Searches.")]
        public static string Find() => "found";
    }

    /// <summary>A server over HTTP that answers by hand.</summary>
    sealed class HostileServer : IAsyncDisposable
    {
        readonly WebServer server;

        /// <param name="result">The result of a method, in JSON; null: <paramref name="otherwise"/> answers.</param>
        public HostileServer(Func<string, string, string?> result, Func<WebServer.Request, string, Task>? otherwise = null) => server = new(async request =>
        {
            if (!request.Line.StartsWith("POST", StringComparison.Ordinal))
            {
                await request.Answer(405, "");
                return;
            }
            var message = JsonElement.Parse(request.Body);
            var method = message.GetProperty("method").GetString()!;
            if (!message.TryGetProperty("id", out var id))
            {
                await request.Answer(202, "");
            }
            else if (result(method, id.GetRawText()) is { } answer)
            {
                await request.Answer(200, answer.Length == 0
                    ? $$$"""{"jsonrpc":"2.0","id":{{{id.GetRawText()}}},"error":{"code":-32601,"message":"no such method"}}"""
                    : $$"""{"jsonrpc":"2.0","id":{{id.GetRawText()}},"result":{{answer}}}""");
            }
            else
            {
                await otherwise!(request, method);
            }
        });

        public int Port => server.Port;

        public string Url => server.Url;

        public EgressFence Fence => server.Fence();

        public static HostileServer WithTool(string result) => new((method, _) =>
            method == "tools/list" ? """{"tools":[{"name":"t","inputSchema":{"type":"object"},"annotations":{"readOnlyHint":true}}]}"""
            : method == "tools/call" ? result
            : Usual(method));

        public static string Usual(string method) => method == "initialize"
            ? """{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"x","version":"1"}}"""
            : "";

        public ValueTask DisposeAsync() => server.DisposeAsync();
    }

    /// <summary>Programs in Python that speak MCP by hand.</summary>
    sealed class Python : IAsyncDisposable
    {
        const string Honest = """
            import json, os, sys
            def tool(name, read): return {"name": name, "description": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": read}}
            for line in sys.stdin:
                message = json.loads(line)
                method, result = message.get("method"), None
                if method == "initialize":
                    result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "honest", "version": "1"}}
                elif method == "tools/list":
                    result = {"tools": [tool("environment", True), tool("crash", False)]}
                elif method == "tools/call" and message["params"]["name"] == "environment":
                    def link(name):
                        try: return os.readlink("/proc/self/fd/" + name)
                        except OSError: return ""
                    files = {name: link(name) for name in os.listdir("/proc/self/fd")}
                    seen = {"variables": dict(os.environ), "folder": os.getcwd(), "user": os.getuid(), "process": str(os.getpid()), "files": files}
                    result = {"content": [{"type": "text", "text": json.dumps(seen)}]}
                elif method == "tools/call":
                    sys.stderr.write("going down\n")
                    sys.exit(3)
                if "id" in message:
                    answer = {"jsonrpc": "2.0", "id": message["id"]}
                    if result is None: answer["error"] = {"code": -32601, "message": "no such method"}
                    else: answer["result"] = result
                    print(json.dumps(answer), flush=True)
            """;

        /// <summary>Its one tool is named by how often it was listed. It says that its tools changed when there is a file in its folder.</summary>
        const string Changes = """
            import json, os, sys, threading, time
            lock, listed = threading.Lock(), 0
            def send(message):
                with lock: print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
            def watch():
                while not os.path.exists("change"): time.sleep(0.01)
                send({"method": "notifications/tools/list_changed"})
            threading.Thread(target=watch, daemon=True).start()
            for line in sys.stdin:
                message = json.loads(line)
                method, result = message.get("method"), None
                if method == "initialize":
                    result = {"protocolVersion": message["params"]["protocolVersion"], "capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "c", "version": "1"}}
                elif method == "tools/list":
                    listed += 1
                    result = {"tools": [{"name": "list_%d" % listed, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}]}
                elif method == "tools/call":
                    result = {"content": [{"type": "text", "text": message["params"]["name"] + " was called"}]}
                if "id" in message: send({"id": message["id"], **({"result": result} if result is not None else {"error": {"code": -32601, "message": "no"}})})
            """;

        public string Folder { get; } = TestPostgres.NewDirectory();

        public McpCommands Commands
        {
            get
            {
                static McpCommand Run(string code) => new("python3", ["-c", code], ImmutableDictionary<string, string>.Empty.Add("FIXED", "as configured"), ["ORDERS_TOKEN"]);
                return new(
                    new Dictionary<string, McpCommand>
                    {
                        ["honest"] = Run(Honest),
                        ["changes"] = Run(Changes),
                        ["missing"] = new("/nowhere/server", [], ImmutableDictionary<string, string>.Empty, []),
                        ["dies"] = Run("import sys; sys.stderr.write('no configuration\\n'); sys.exit(2)"),
                        ["silent"] = Run("import time; open('started', 'w').close(); time.sleep(600)"),
                        ["floods"] = Run("import sys\nwhile True: sys.stdout.write('x' * 65536)"),
                        ["chatters"] = Run("import sys\nopen('started', 'w').close()\nfor line in sys.stdin: print('this is no JSON', flush=True)\nsys.exit(1)"),
                    }.ToImmutableDictionary(),
                    Folder);
            }
        }

        public ValueTask DisposeAsync()
        {
            if (Directory.Exists(Folder))
            {
                Directory.Delete(Folder, recursive: true);
            }
            return default;
        }
    }
}
