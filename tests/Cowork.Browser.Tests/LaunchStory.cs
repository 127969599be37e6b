using System.Text.Json;

using Cowork.Application.Models;
using Cowork.Testing;

namespace Cowork.Browser.Tests;

/// <summary>
/// A host on which something has happened: an agent has audited a launch plan with a model that follows a script, and waits with a deletion; others have asked, failed and
/// ended. Pages of the console show it, and their pictures in docs/console are of it.
/// </summary>
sealed class LaunchStory : IAsyncDisposable
{
    const string Audit = "Audit the launch plan and clean up.";

    static readonly (string Text, (string Tool, object Input)[] Calls)[] Rounds =
    [
        ("I will look at what is there first, then read the two files that matter.", [("list_files", new { }), ("read_file", new { path = "plan.txt" })]),
        ("The plan names a launch date. I check the budget and who has to sign.",
            [("search_files", new { query = "budget" }), ("read_file", new { path = "budget.csv" }), ("recall", new { query = "launch" })]),
        ("Now I write the report and retire the stale draft; the latter needs a person.",
            [("write_file", new { path = ".anton/output/report.html", content = "<h1>Launch</h1><p>Friday at nine.</p>" }), ("delete_file", new { path = "old-draft.txt" })]),
        ("Done. The launch is on **Friday at nine**, the budget holds with 1 240 USD to spare, and the stale draft is gone.\n\n"
            + "| item | planned | spent |\n|---|---|---|\n| venue | 3 000 | 2 400 |\n| print | 1 000 | 360 |\n\nThe report lies in `.anton/output/report.html`.", []),
    ];

    /// <summary>A model takes its time in pictures, so that bars have lengths.</summary>
    readonly TimeSpan pace;
    readonly ModelServer model = new();

    LaunchStory(TimeSpan pace) => (this.pace, model.Otherwise) = (pace, Answer);

    public LiveHost Host { get; private set; } = null!;

    /// <summary>The run that waits with its deletion.</summary>
    public string Waiting { get; private set; } = "";

    /// <summary>The same in another session, where the deletion was approved.</summary>
    public string Done { get; private set; } = "";

    public static async Task<LaunchStory> Begin(bool isSlow)
    {
        var story = new LaunchStory(isSlow ? TimeSpan.FromMilliseconds(90) : TimeSpan.Zero);
        var settings = new ModelSettings { Name = "sonnet-like", Provider = ModelSettings.OpenAi, Model = "sonnet-like-1", BaseUrl = story.model.Url, Price = new(3, 15) };
        story.Host = await LiveHost.Start(host => host with { Models = [settings], Heads = host.Heads with { Every = TimeSpan.FromSeconds(1) } });
        var http = story.Host.Http;
        foreach (var session in (string[])["research", "invoices", "hr-onboarding", "release-notes", "launch-audit"])
        {
            await http.NewSession(session);
            var folder = Path.Combine(story.Host.Data, "workspaces", session);
            await File.WriteAllTextAsync(Path.Combine(folder, "plan.txt"), "The launch is on Friday at nine.\n");
            await File.WriteAllTextAsync(Path.Combine(folder, "budget.csv"), "item,planned,spent\nvenue,3000,2400\nprint,1000,360\n");
            await File.WriteAllTextAsync(Path.Combine(folder, "old-draft.txt"), "stale\n");
        }
        story.Done = await story.Ask("research");
        var approval = (await http.Get("/approvals?session_id=research")).Is(200).Json.GetProperty("approvals")[0].GetProperty("approval_id").GetString();
        (await http.Post($"/approvals/{approval}/decision", """{"approved":true,"note":"It is stale."}""")).Is(200);
        await http.Until($"/runs/{story.Done}", run => run["status"] == "completed");
        foreach (var (session, message) in (IEnumerable<(string, string)>)[
            ("release-notes", "When is the launch?"), ("hr-onboarding", """/tool list_files {}"""), ("hr-onboarding", """/tool remember {"content":"Mara signs releases."}"""),
            ("release-notes", "/fail the model hung up"), ("hr-onboarding", """/tool read_file {"path":"budget.csv"}"""), ("release-notes", "/say The notes are ready."),
            ("invoices", """/tool write_file {"path":"budget.csv","content":"item,planned,spent\nvenue,3000,2600\nprint,1000,360\n"}""")])
        {
            await http.Turn(session, message);
        }
        story.Waiting = await story.Ask("launch-audit");
        return story;
    }

    /// <summary>Makes a group that talks, works and a connection.</summary>
    /// <returns>The group.</returns>
    public async Task<string> Talk()
    {
        var http = Host.Http;
        var group = (await http.Post("/groups", """{"title":"Launch room"}""")).Is(201)["group_id"];
        foreach (var user in (string[])["ann", "bob", "carla"])
        {
            (await http.Post($"/groups/{group}/members", JsonSerializer.Serialize(new { user_id = user }))).Is(201);
        }
        (await http.Post($"/groups/{group}/messages", """{"text":"/say The launch is on **Friday** at nine."}""")).Is(202);
        foreach (var (bucket, label, preview) in (IEnumerable<(string, string, string)>)[
            ("brand", "Autumn palette", "Five colours for the launch."),
            ("listings", "12 Elm Street", "Three rooms and a garden."), ("deals", "Elm Street, offer 2", "405 000, until Friday.")])
        {
            (await http.Post("/myworks", JsonSerializer.Serialize(new { bucket, label, preview, tags = new[] { "launch" }, payload = new { price = 420_000 } }))).Is(201);
        }
        (await http.Post(
            "/api/v1/connectors/connections",
            """{"spec_id":"postgres","name":"Ledger","credentials":{"host":"127.0.0.1","port":1,"database":"ledger","user":"reader","password":"x"}}""")).Is(201);
        return group;
    }

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        await Ledger.CheckLog(Host.Database);
        await model.DisposeAsync();
    }

    async Task<string> Ask(string session)
    {
        var asked = (await Host.Http.Post($"/sessions/{session}/turn", JsonSerializer.Serialize(new { message = Audit, model = "sonnet-like" }))).Is(200);
        Assert.Equal("approval_required", asked["status"]);
        return asked["run_id"];
    }

    async Task Answer(ModelServer.Exchange asked)
    {
        var messages = asked.Body.GetProperty("messages").EnumerateArray().Select(message => message.GetProperty("role").GetString()).ToList();
        var round = messages.Skip(messages.LastIndexOf("user")).Count(role => role == "assistant");
        var (text, calls) = Rounds[Math.Min(round, Rounds.Length - 1)];
        await asked.Head();
        await Task.Delay(5 * pace, TimeProvider.System);
        foreach (var words in text.Split(' ').Chunk(4))
        {
            await asked.Event(Delta(new { content = string.Join(' ', words) + " " }));
            await Task.Delay(pace, TimeProvider.System);
        }
        foreach (var (index, (tool, input)) in calls.Index())
        {
            await asked.Event(Delta(new { tool_calls = new[] { new { index, id = $"call_{round}{index}", type = "function", function = new { name = tool, arguments = JsonSerializer.Serialize(input) } } } }));
        }
        await asked.Event(JsonSerializer.Serialize(new { choices = new[] { new { index = 0, delta = new { }, finish_reason = calls.Length > 0 ? "tool_calls" : "stop" } } }));
        await asked.Event(JsonSerializer.Serialize(new { choices = Array.Empty<object>(), usage = new { prompt_tokens = 1304 + (round * 420), completion_tokens = 48 + (round * 9) } }));
        await asked.Event("[DONE]");
        await asked.End();
    }

    static string Delta(object delta) => JsonSerializer.Serialize(new { model = "sonnet-like-1", choices = new[] { new { index = 0, delta } } });
}
