using System.Collections.Immutable;

using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.Extensions.Logging.Abstractions;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>The tools of connected sources in runs: what a model is offered, what the run records of it, and what a call does.</summary>
public sealed class OutsideToolSpecs
{
    static readonly ConnectionKey Orders = new("01kdvkjr000000000000000031");
    static readonly ConnectionKey Other = new("01kdvkjr000000000000000032");
    static readonly ProjectKey Sales = new("01kdvkjr000000000000000007");
    static readonly SkillKey Reader = new("01k9sk1110000000000000000b");

    readonly Source source = new();
    readonly MasterKey master = MasterKey.New();
    readonly RunHarness harness;

    public OutsideToolSpecs() => harness = new() { OutsideOf = Outside };

    [Fact]
    public async Task The_model_is_offered_the_tools_of_connections_with_their_schemas_and_the_run_records_them()
    {
        var host = await Ready();
        await host.OpenSession("s");
        var run = await host.Send("s", "hello");
        await host.Drive();
        Assert.Equal(["read_file", "mcp__orders__add_order", "mcp__orders__find_order"], harness.Model.Offered[^1].Select(tool => tool.Name));
        Assert.Equal("""{"properties":{"number":{"type":"integer"}},"type":"object"}""", harness.Model.Offered[^1][2].JsonSchema.GetRawText());
        var offered = Assert.Single(await Events<RunEvent.ToolsOffered>(run));
        Assert.Equal((2, null), (offered.Count, offered.LeftOut));
        var of = $"{{\"connection_id\":\"{Orders.Id}\",";
        Assert.Equal(
            $"[{of}\"description\":\"Adds an order.\",\"name\":\"mcp__orders__add_order\",\"read_only\":false,"
            + "\"schema\":{\"properties\":{},\"type\":\"object\"},\"tool\":\"add_order\"},"
            + $"{of}\"description\":\"Finds an order.\",\"name\":\"mcp__orders__find_order\",\"read_only\":true,"
            + "\"schema\":{\"properties\":{\"number\":{\"type\":\"integer\"}},\"type\":\"object\"},\"tool\":\"find_order\"}]",
            ((Content.Inline)offered.Tools).Text);
    }

    [Fact]
    public async Task A_read_is_called_at_once_and_another_tool_when_a_person_has_agreed()
    {
        var host = await Ready();
        await host.OpenSession("s");
        var run = await host.Send("s", """
            hello
            mcp__orders__find_order {"number":7}
            mcp__orders__add_order {"number":8}
            """);
        await host.Drive();
        Assert.Equal(["""find_order {"number":7}"""], source.Called);
        var asked = Assert.Single(await Events<RunEvent.ApprovalRequested>(run));
        Assert.Equal(("mcp__orders__add_order", "connector_write"), (asked.ToolName, asked.Rule));
        Assert.Contains($"orders: mcp, {Orders.Id}, revision 1", asked.Reason, StringComparison.Ordinal);
        Assert.Null(await host.Decide(asked.ApprovalId, approved: true));
        await host.Drive();
        Assert.Equal(["""find_order {"number":7}""", """add_order {"number":8}"""], source.Called);
        Assert.Equal(["connector_read", "connector_write"], (await Events<RunEvent.PolicyDecision>(run)).Select(decision => decision.Rule));
        Assert.Equal(["called find_order", "called add_order"], (await Events<RunEvent.ToolResult>(run)).Select(result => ((Content.Inline)result.Content).Text));
        Assert.Single(await Events<RunEvent.ToolsOffered>(run));
    }

    [Fact]
    public async Task A_run_that_is_taken_over_asks_with_the_tools_that_it_had_and_the_next_round_with_those_that_there_are()
    {
        var host = await Ready();
        await host.OpenSession("s");
        harness.Model.Before = _ => throw new HostDiedException();
        var run = await host.Send("s", "hello\nmcp__orders__find_order {}");
        await Assert.ThrowsAnyAsync<HostDiedException>(host.Drive);
        host.Node.Die();
        harness.Model.Before = _ => Task.CompletedTask;
        source.Tools = [new("search", "Searches.", "{}", IsRead: true)];
        var left = harness.AddHost("b");
        await left.Drive();
        Assert.Equal(["read_file", "mcp__orders__add_order", "mcp__orders__find_order"], harness.Model.Offered[^2].Select(tool => tool.Name));
        Assert.Equal(["read_file", "mcp__orders__search"], harness.Model.Offered[^1].Select(tool => tool.Name));
        Assert.Equal([2, 1], (await Events<RunEvent.ToolsOffered>(run)).Select(offered => offered.Count));
        Assert.Equal(2, (await Events<RunEvent.LlmResponse>(run)).Select(answer => answer.RequestSha256).Distinct().Count());
        // The source has the tool no more, and says so itself.
        Assert.Equal(["called find_order"], (await Events<RunEvent.ToolResult>(run)).Select(result => ((Content.Inline)result.Content).Text));
        var (_, fault) = TraceVerifier.Verify(await TraceBundle.Build(harness.Engine, harness.Blobs, RunHarness.Org, new("s"), run, default));
        Assert.Null(fault);
    }

    [Fact]
    public async Task A_tool_that_was_no_read_when_it_was_offered_is_none_whatever_its_source_says_later()
    {
        var host = await Ready();
        await host.OpenSession("s");
        // Once the model has been asked, its source calls each tool the other thing.
        harness.Model.Before = _ =>
        {
            source.Tools = [.. source.Tools.Select(tool => tool with { IsRead = !tool.IsRead })];
            return Task.CompletedTask;
        };
        var run = await host.Send("s", "hello\nmcp__orders__add_order {}");
        await host.Drive();
        Assert.Equal("mcp__orders__add_order", Assert.Single(await Events<RunEvent.ApprovalRequested>(run)).ToolName);
        await host.OpenSession("t");
        source.Tools = [.. source.Tools.Select(tool => tool with { IsRead = tool.Name == "find_order" })];
        var other = await host.Send("t", "hello\nmcp__orders__find_order {}");
        await host.Drive();
        Assert.Equal("mcp__orders__find_order", Assert.Single(await Events<RunEvent.ApprovalRequested>(other)).ToolName);
        Assert.Empty(source.Called);
    }

    [Fact]
    public async Task A_source_that_is_away_is_told_keeps_what_it_offered_and_is_asked_again_after_a_while()
    {
        var host = await Ready();
        await host.OpenSession("s");
        source.Away = "orders.example: it did not answer in time.";
        var run = await host.Send("s", "hello");
        await host.Drive();
        var offered = Assert.Single(await Events<RunEvent.ToolsOffered>(run));
        Assert.Equal((0, "[]"), (offered.Count, ((Content.Inline)offered.Tools).Text));
        Assert.Equal(new UnofferedTool(Orders, null, source.Away), Assert.Single(offered.LeftOut!));
        var asked = source.Asked;
        await host.Send("s", "hello again");
        await host.Drive();
        Assert.Equal(asked, source.Asked);
        harness.Clock.Advance(TimeSpan.FromSeconds(31));
        source.Away = null;
        harness.Model.Before = _ =>
        {
            source.Away = "away";
            return Task.CompletedTask;
        };
        var third = await host.Send("s", "and again\nread_file {}");
        await host.Drive();
        Assert.Equal([2], (await Events<RunEvent.ToolsOffered>(third)).Select(one => one.Count));
        Assert.Contains("mcp__orders__find_order", harness.Model.Offered[^1].Select(tool => tool.Name));
    }

    [Fact]
    public async Task A_projects_connections_and_the_tools_of_skills_narrow_what_is_offered()
    {
        var host = await Ready();
        await Connect(host, Other, "other");
        await Do(host, new CreateProject(Sales, new("Sales", null, [Other.Id], [], null)));
        await Do(host, new OpenSession(new("s"), "/w", "{}", null, Project: Sales));
        var run = await host.Send("s", "hello\nmcp__orders__find_order {}");
        await host.Drive();
        Assert.Equal(["read_file", "mcp__other__add_order", "mcp__other__find_order"], harness.Model.Offered[^1].Select(tool => tool.Name));
        Assert.Contains("There is no tool named", ((Content.Inline)(await Events<RunEvent.ToolResult>(run)).Single().Content).Text, StringComparison.Ordinal);

        await Do(host, new CreateSkill(Reader, new("reader", "d", "{}", null, [], null, ["recall", "mcp__other__find_order"])));
        await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new("s"), "hello", null, null, null, Skills: new([Reader], null)), default);
        await host.Drive();
        Assert.Equal(["mcp__other__find_order"], harness.Model.Offered[^1].Select(tool => tool.Name));
        Assert.Empty(source.Called);
    }

    [Fact]
    public async Task A_sessions_connector_grants_limit_what_is_offered_and_called()
    {
        var host = await Ready();
        await Connect(host, Other, "other");
        await Do(host, new OpenSession(new("s"), "/w", "{}", null, Connectors: [new("postgres", null, [], AllowActions: true), new("mcp", Other, [], AllowActions: false)]));
        var run = await host.Send("s", "hello\nmcp__other__find_order {}\nmcp__other__add_order {}\nmcp__orders__find_order {}");
        await host.Drive();
        Assert.Equal(["read_file", "mcp__other__find_order"], harness.Model.Offered[^1].Select(tool => tool.Name));
        Assert.Equal(["find_order {}"], source.Called);
        var leftOut = Assert.Single(Assert.Single(await Events<RunEvent.ToolsOffered>(run)).LeftOut!);
        Assert.Equal(("add_order", "The session's grant of mcp allows no actions, only reads."), (leftOut.Tool, leftOut.Reason));
        Assert.Equal([false, true, true], (await Events<RunEvent.ToolResult>(run)).Select(result => result.IsError));
        // A read may be offered, and be none by the time of the call.
        harness.Model.Before = _ =>
        {
            source.Tools = [.. source.Tools.Select(tool => tool with { IsRead = false })];
            return Task.CompletedTask;
        };
        await Do(host, new OpenSession(new("u"), "/w", "{}", null, Connectors: [new("mcp", null, [], AllowActions: false)]));
        var other = await host.Send("u", "hello\nmcp__orders__find_order {}");
        await host.Drive();
        Assert.Contains("allows no actions", ((Content.Inline)(await Events<RunEvent.ToolResult>(other)).Single().Content).Text, StringComparison.Ordinal);
        Assert.Single(source.Called);
    }

    [Fact]
    public async Task A_connection_that_is_made_changed_or_deleted_shows_in_the_next_round()
    {
        var host = await Ready();
        var other = harness.AddHost("b");
        await host.OpenSession("s");
        await host.Send("s", "hello");
        await host.Drive();
        await Connect(other, Other, "orders");
        await Do(host, new ChangeConnection(Orders, "prod orders!", null, null));
        await host.Send("s", "hello");
        await host.Drive();
        Assert.Equal(
            ["mcp__orders__add_order", "mcp__orders__find_order", "mcp__prod_orders__add_order", "mcp__prod_orders__find_order"],
            harness.Model.Offered[^1].Select(tool => tool.Name).Skip(1));
        await Do(other, new DeleteConnection(Orders));
        await host.Send("s", "hello");
        await host.Drive();
        Assert.Equal(["mcp__orders__add_order", "mcp__orders__find_order"], harness.Model.Offered[^1].Select(tool => tool.Name).Skip(1));
    }

    [Fact]
    public async Task What_is_offered_is_bounded_and_every_source_has_its_turn()
    {
        var host = await Ready();
        await Connect(host, Other, "other");
        source.Tools = [.. Enumerable.Range(0, 200).Select(n => new SourceTool($"tool_{n:000}", new string('d', 3_000), "{}", IsRead: true))];
        await host.OpenSession("s");
        var run = await host.Send("s", "hello");
        await host.Drive();
        var offered = Assert.Single(await Events<RunEvent.ToolsOffered>(run));
        Assert.InRange(offered.Count, 40, 100);
        var names = harness.Model.Offered[^1].Select(tool => tool.Name).ToList();
        Assert.InRange(names.Count(name => name.StartsWith("mcp__other__", StringComparison.Ordinal)), offered.Count / 2, (offered.Count + 1) / 2);
        Assert.True((await harness.Blobs.Text(offered.Tools, default)).Length <= ConnectorLimits.OfferedBytesMax + 2);
        Assert.Equal(100, offered.LeftOut!.Count);
        Assert.Contains("more are left out", offered.LeftOut[^1].Reason, StringComparison.Ordinal);
        source.Tools = [.. Enumerable.Range(0, 200).Select(n => new SourceTool($"tool_{n:000}", "", "{}", IsRead: true))];
        await host.Send("s", "hello");
        await host.Drive();
        Assert.Equal(1 + ConnectorLimits.OfferedToolsMax, harness.Model.Offered[^1].Count);
    }

    [Fact]
    public async Task A_write_that_a_lost_host_may_have_made_is_not_made_again()
    {
        var host = await Ready();
        await host.OpenSession("s");
        var run = await host.Send("s", "hello\nmcp__orders__add_order {}");
        await host.Drive();
        source.Before = () => harness.DieAt([(0, false)]);
        Assert.Null(await host.Decide(Assert.Single(await Events<RunEvent.ApprovalRequested>(run)).ApprovalId, approved: true));
        await Assert.ThrowsAnyAsync<HostDiedException>(host.Drive);
        host.Node.Die();
        (source.Before, harness.Engine.FailPoint) = (() => { }, null);
        await harness.AddHost("b").Drive();
        Assert.Single(source.Called);
        Assert.Contains("may have happened or not", ((Content.Inline)(await Events<RunEvent.ToolResult>(run)).Single().Content).Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_secret_that_a_source_puts_into_its_tools_is_taken_out()
    {
        var host = await Ready();
        source.Tools =
        [
            new("find_order", "Use the key s3cr3t-token.", """{"properties":{"a":{"description":"s3cr3t-token"}}}""", IsRead: true), new("s3cr3t-token", "", "{}", IsRead: true),
        ];
        await host.OpenSession("s");
        var run = await host.Send("s", "hello");
        await host.Drive();
        var offered = Assert.Single(await Events<RunEvent.ToolsOffered>(run));
        Assert.DoesNotContain("s3cr3t", ((Content.Inline)offered.Tools).Text, StringComparison.Ordinal);
        Assert.Contains("Use the key ***.", ((Content.Inline)offered.Tools).Text, StringComparison.Ordinal);
        Assert.Equal("Its name has a secret of the connection in it.", Assert.Single(offered.LeftOut!).Reason);
    }

    [Theory]
    [InlineData("""{}""", """{"properties":{},"type":"object"}""")]
    [InlineData("""{"$schema":"x","$id":"y","type":"object","x-odd":1,"title":"T"}""", """{"properties":{},"title":"T","type":"object"}""")]
    [InlineData("""{"type":["object","null"],"anyOf":[{"required":["a"]}],"required":["a","a"]}""", """{"properties":{},"required":["a"],"type":"object"}""")]
    [InlineData("""{"required":[7],"additionalProperties":false,"properties":{"a":{"type":"string","minLength":-1,"enum":[],"pattern":7,"format":"date"},"b":true}}""",
        """{"additionalProperties":false,"properties":{"a":{"format":"date","type":"string"},"b":true},"type":"object"}""")]
    [InlineData("""{"properties":{"a":{"$ref":"#/$defs/x~1y"}},"$defs":{"x/y":{"type":["integer","null"],"minimum":1.50}}}""",
        """{"$defs":{"x/y":{"minimum":1.5,"type":["integer","null"]}},"properties":{"a":{"$ref":"#/$defs/x~1y"}},"type":"object"}""")]
    [InlineData("""{"properties":{"a":{"type":"number","minimum":-1e400,"maximum":1e400,"multipleOf":1e400}}}""",
        """{"properties":{"a":{"type":"number"}},"type":"object"}""")]
    [InlineData("""{"properties":{"a":{"description":"a\u202eb","default":{"k":[1,"\u0000"]}}}}""", """{"properties":{"a":{"default":{"k":[1,"\u0000"]},"description":"a\\u202eb"}},"type":"object"}""")]
    public void A_schema_is_repaired_where_the_source_checks_the_rest(string given, string schema)
    {
        var (read, whyNot) = OutsideToolSchema.Of(given);
        Assert.Null(whyNot);
        Assert.Equal(schema, read!.Value.GetRawText());
    }

    [Theory]
    [InlineData("""[]""", "Its input schema is no object.")]
    [InlineData("""{""", "Its input schema is no JSON that can be kept.")]
    [InlineData("""{"type":"object","type":"object"}""", "Its input schema is no JSON that can be kept.")]
    [InlineData("""{"properties":{"a":{"const":"\ud800"}}}""", "Its input schema is no JSON that can be kept.")]
    [InlineData("""{"properties":{"a":{"const":1e400}}}""", "Its input schema is no JSON that can be kept.")]
    [InlineData("""{"type":"string"}""", "Its input is no object.")]
    [InlineData("""{"type":7}""", "Its input is no object.")]
    [InlineData("""{"properties":[]}""", "Its input schema is malformed at properties.")]
    [InlineData("""{"properties":{"a":"string"}}""", "Its input schema is malformed at properties.")]
    [InlineData("""{"properties":{"a":{"type":"text"}}}""", "Its input schema is malformed at type.")]
    [InlineData("""{"properties":{"a":{"items":[{}]}}}""", "Its input schema is malformed at items.")]
    [InlineData("""{"properties":{"a":{"anyOf":[]}}}""", "Its input schema is malformed at anyOf.")]
    [InlineData("""{"properties":{"a b":{}}}""", "Its input has a property that models cannot name: a b.")]
    [InlineData("""{"properties":{"a":{"$ref":"https://example.com/x"}}}""", "Its input schema refers to what is not in it: https://example.com/x.")]
    [InlineData("""{"properties":{"a":{"$ref":"#/$defs/x"}}}""", "Its input schema refers to what is not in it: #/$defs/x.")]
    public void A_tool_with_a_schema_that_lies_is_left_out_with_a_reason(string given, string reason) => Assert.Equal(reason, OutsideToolSchema.Of(given).WhyNot);

    [Fact]
    public void A_schema_that_is_too_large_or_too_deep_is_none()
    {
        static string Nested(int levels) => $"{{\"properties\":{{\"a\":{string.Concat(Enumerable.Repeat("{\"items\":", levels))}{{}}{new string('}', levels + 2)}";
        Assert.Equal("Its input schema has more than 16 KiB.", OutsideToolSchema.Of($"{{\"title\":\"{new string('x', 17_000)}\"}}").WhyNot);
        Assert.Null(OutsideToolSchema.Of(Nested(10)).WhyNot);
        Assert.Equal("Its input schema is more than 16 levels deep.", OutsideToolSchema.Of(Nested(20)).WhyNot);
        Assert.Equal("Its input schema is no JSON that can be kept.", OutsideToolSchema.Of(Nested(200)).WhyNot);
    }

    [Fact]
    public void Names_are_as_models_take_them_and_each_is_of_one_tool()
    {
        var keys = Enumerable.Range(0, 6).Select(n => new ConnectionKey($"01kdvkjr0000000000000000{n:00}")).ToList();
        var names = OutsideToolNames.OfConnections(
            [(keys[2], "orders"), (keys[0], "orders"), (keys[1], "Bücher & Co__2"), (keys[3], "…"), (keys[4], new string('x', 90)), (keys[5], "orders")]);
        Assert.Equal(
            ["orders", "B_cher_Co_2", "orders-000002", "connection", new string('x', 24), "orders-000005"], keys.Select(key => names[key]));
        Assert.Equal("mcp__orders__find-order_2", OutsideToolNames.OfTool("orders", "find-order_2"));
        Assert.StartsWith("mcp__orders__repo_find_", OutsideToolNames.OfTool("orders", "repo/find"), StringComparison.Ordinal);
        var random = new Random(Seeds.One(4711));
        const string Characters = "abcXYZ019_-./";
        var made = new Dictionary<string, (string, string)>(StringComparer.Ordinal);
        for (var i = 0; i < 5_000; i++)
        {
            var tool = string.Concat(Enumerable.Range(0, random.Next(1, 129)).Select(_ => Characters[random.Next(Characters.Length)]));
            foreach (var connection in (string[])["orders", "a", "a-000002", new string('x', 24)])
            {
                var name = OutsideToolNames.OfTool(connection, tool);
                Assert.Matches("^mcp__[A-Za-z0-9_-]{1,59}$", name);
                Assert.True(name.Length <= OutsideToolNames.CharsMax, name);
                Assert.True(!made.TryGetValue(name, out var other) || other == (connection, tool), $"{name} is {other} and {(connection, tool)}");
                made[name] = (connection, tool);
            }
        }
    }

    async Task<RunHarness.Host> Ready()
    {
        var host = harness.AddHost("a");
        await Connect(host, Orders, "orders");
        return host;
    }

    async Task Connect(RunHarness.Host host, ConnectionKey key, string name) =>
        await Do(host, new CreateConnection(
            key, "mcp", name, await Secrets(host).Seal(RunHarness.Org, key, ImmutableDictionary<string, string>.Empty.Add("bearer", "s3cr3t-token"), default), new()));

    static async Task Do(RunHarness.Host host, ICommand command) =>
        Assert.Null((await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, command, default)).Refused);

    async Task<List<TEvent>> Events<TEvent>(RunKey run) =>
        [.. (await harness.Engine.Load(RunHarness.Org, $"run-{run.Value}", 0, int.MaxValue, default)).Events.Select(e => e.Event).OfType<TEvent>()];

    TenantSecrets Secrets(RunHarness.Host host) => new(host.Commands, host.Commands, new([master], "the spec"), new("default"), harness.Clock);

    (OutsideTools, ToolConnections) Outside(RunHarness.Host host)
    {
        var catalog = new ConnectorCatalog([source]);
        var connections = new ToolConnections(host.Queries, catalog);
        return (
            new(
                harness.Policy, new(host.Commands, host.Commands, new(host.Commands, host.Commands, Secrets(host)), catalog), connections,
                new(catalog, harness.Clock, NullLogger<ConnectorCalls>.Instance), harness.Blobs, harness.Clock),
            connections);
    }

    /// <summary>A source with tools, whose answers are made by the spec.</summary>
    sealed class Source : IConnector
    {
        int asked;

        public ImmutableList<SourceTool> Tools { get; set; } =
        [
            new("find_order", "Finds an order.", """{"type":"object","properties":{"number":{"type":"integer"}}}""", IsRead: true), new("add_order", "Adds an order.", "{}", IsRead: false),
        ];

        public List<string> Called { get; } = [];

        public int Asked => Volatile.Read(ref asked);

        /// <summary>Why it does not list its tools; null: it does.</summary>
        public string? Away { get; set; }

        /// <summary>Called when it does what it was asked.</summary>
        public Action Before { get; set; } = () => { };

        public bool HasTools => true;

        public ConnectorSpec Spec { get; } = new("mcp", "MCP server", "", ConnectorAuth.Credentials, [new("bearer", "Token", IsSecret: true)]);

        public ValueTask<Probe> Probe(ConnectionSettings settings, CancellationToken ct) => new(Application.Probe.Connected);

        public ValueTask<ConnectorEffect> Judge(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct) =>
            new(Tools.Find(tool => tool.Name == ((ConnectorRequest.Call)request).Tool) is { IsRead: false } ? ConnectorEffect.Write : ConnectorEffect.Read);

        public ValueTask<ConnectorAnswer> Ask(ConnectionSettings settings, ConnectorRequest request, CancellationToken ct)
        {
            if (request is ConnectorRequest.Tools)
            {
                Interlocked.Increment(ref asked);
                return new(Away is null ? new ConnectorAnswer.Tools(Tools, []) : new ConnectorAnswer.Failed(Away, IsUnreachable: true));
            }
            var call = (ConnectorRequest.Call)request;
            Called.Add($"{call.Tool} {call.Arguments.GetRawText()}");
            Before();
            return new(new ConnectorAnswer.Text($"called {call.Tool}"));
        }
    }
}
