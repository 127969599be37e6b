using System.Text;
using System.Text.Json;

using Cowork.Domain;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>A long text is stored when the command that names it would be accepted, and no event names a text that is not stored.</summary>
public sealed class LongTextSpecs
{
    static readonly string Long = new('x', Limits.InlineBytesMax + 1);

    readonly RunHarness bench = new();

    async Task<RunHarness.Host> Ready()
    {
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        return host;
    }

    static async Task<(Turn? Turn, string? Refused)> Send(RunHarness.Host host, string session, string message, string? key, RequestKey? header = null)
    {
        var (turn, refused) = await host.Turns.Submit(RunHarness.Org, RunHarness.User, new(new(session), message, null, key, header), default);
        return (turn, refused?.Code);
    }

    [Fact]
    public async Task A_refused_turn_stores_nothing()
    {
        var host = await Ready();
        Assert.Equal((null, "not_found"), await Send(host, "nowhere", Long, null));
        await Send(host, "s", "short", "k", new("POST /turn", "h", "00", TimeSpan.FromHours(1)));
        Assert.Equal((null, "idempotency_key_reused"), await Send(host, "s", Long, "k"));
        Assert.Equal((null, "idempotency_key_reused"), await Send(host, "s", Long, null, new("POST /turn", "h", "01", TimeSpan.FromHours(1))));
        Assert.Equal(0, bench.Blobs.Count);
        Assert.NotNull((await Send(host, "s", Long, "l")).Turn);
        Assert.Equal(1, bench.Blobs.Count);
    }

    [Fact]
    public async Task A_repeat_leads_to_the_first_run_and_stores_nothing()
    {
        var host = await Ready();
        var (first, _) = await Send(host, "s", Long, "k");
        bench.Blobs.Forget();
        var (again, _) = await Send(bench.AddHost("n1"), "s", Long, "k");
        Assert.Equal((first!.Run, true), (again!.Run, again.Reused));
        Assert.Equal(0, bench.Blobs.Count);
    }

    [Fact]
    public async Task A_skill_whose_name_is_taken_stores_no_template()
    {
        var host = await Ready();
        var texts = new TextCommands(host.Commands, host.Commands, bench.Blobs);
        var template = NamedText.Of(Long);
        async Task<string?> Create(string name) => (await texts.Execute(
            RunHarness.Org, RunHarness.User, new CreateSkill(SkillKey.New(bench.Clock.GetUtcNow()), new(name, "", "{}", template.Content, [], null, [])), template, default)).Refused?.Code;
        Assert.Null(await Create("one"));
        bench.Blobs.Forget();
        Assert.NotNull(await Create("one"));
        Assert.Equal(0, bench.Blobs.Count);
        Assert.Null(await Create("two"));
        Assert.Equal(1, bench.Blobs.Count);
    }

    [Fact]
    public async Task No_event_names_a_text_that_is_not_stored()
    {
        var host = await Ready();
        var before = (await bench.Engine.Feed(RunHarness.Org, null, 0, 1, default)).Head;
        var name = new CreateSkill(SkillKey.New(bench.Clock.GetUtcNow()), new("one", "", "{}", NamedText.Of(Long).Content, [], null, []));
        await Assert.ThrowsAsync<InvalidDataException>(async () => await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, name, default));
        Assert.Equal(before, (await bench.Engine.Feed(RunHarness.Org, null, 0, 1, default)).Head);
        await bench.Blobs.Store(Long, default);
        Assert.Null((await ((ICommandExecutor)host.Commands).Execute(RunHarness.Org, RunHarness.User, name, default)).Refused);
    }

    /// <summary>A driver that was fenced while its tool worked throws the output away.</summary>
    [Fact]
    public async Task The_output_of_a_tool_whose_run_has_another_driver_is_not_stored()
    {
        var tool = new LongTool();
        var bench = new RunHarness { Tools = [tool] };
        var host = bench.AddHost("n0");
        await host.OpenSession("s");
        var run = await host.Send("s", "go\nread_file {}");
        // The settings of the host alone.
        Assert.NotNull(await host.Settings.Digest(default));
        Assert.Equal(1, bench.Blobs.Count);
        tool.Happens = async () => Assert.Null(await host.Commands.Commit(
            RunHarness.Org, RunHarness.User, work => work.Do(Run.Aggregate, run, new RunCommand.Start(1_000, "another", work.Now), new("s"), run), default));
        await host.Drive();
        Assert.Equal((true, 1), (tool.WasCalled, bench.Blobs.Count));
        Assert.DoesNotContain("tool_result", await bench.Story($"run-{run.Value}"));
    }

    sealed class LongTool : ITool
    {
        public Func<Task> Happens { get; set; } = () => Task.CompletedTask;

        public bool WasCalled { get; private set; }

        public string Name => "read_file";

        public string Description => "Reads much.";

        public JsonElement Schema { get; } = JsonElement.Parse("""{"type":"object"}""");

        public ValueTask<CallSubject> Subject(ToolContext context, JsonElement input, CancellationToken ct) => new(new CallSubject("read", "x"));

        public async Task<ToolOutcome> Run(ToolContext context, JsonElement input, CancellationToken ct)
        {
            WasCalled = true;
            await Happens();
            return ToolOutcome.Ok(Long);
        }
    }

    [Theory]
    [InlineData("""{"message":{"bytes":70000,"sha256":"aa"},"x":[{"sha256":"bb"},{"sha256":"aa"}]}""", "aa bb")]
    [InlineData("""{"message":"{\"sha256\":\"aa\"}"}""", "")]
    [InlineData("{\"request_sha256\":\"aa\",\"sha256\":\"", "")]
    [InlineData("""{"message":"a"}""", "")]
    public void The_blobs_of_an_event_are_its_members_of_that_name(string data, string digests) =>
        Assert.Equal(digests, string.Join(' ', BlobContent.NamedBy([Encoding.UTF8.GetBytes(data)]).Order()));

    /// <summary>What is named sha256 in an event is a blob's digest, and no other member is: the commit of an event asks the blob store for it.</summary>
    [Fact]
    public void Only_contents_artifacts_and_files_have_a_member_sha256()
    {
        var types = EventTypes.ByName.Values.Select(t => t.Shape).Concat(typeof(Content).Assembly.GetTypes().Where(t => t.IsAssignableTo(typeof(Content))));
        Assert.Equal(
            ["ArtifactDiscovered", "Blob", "FileTextExtracted", "FileUploaded"],
            types.Where(t => t.GetProperties().Any(p => p.Name == "Sha256")).Select(t => t.Name).Distinct().Order(StringComparer.Ordinal));
    }
}
