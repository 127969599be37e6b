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
    const string Friday = "Friday at nine";
    const string Monday = "Monday at ten";

    /// <summary>Where agents write in pictures.</summary>
    const string Report =
        "<!doctype html><style>body { font: 15px/1.6 system-ui; margin: 28px; max-width: 560px } h1 { font-size: 22px; margin: 0 } table { border-collapse: collapse; margin-top: 16px }"
        + " td, th { padding: 4px 18px 4px 0; border-bottom: 1px solid #ddd; text-align: left } td + td { text-align: right }</style>\n"
        + "<h1>Launch</h1>\n<p>" + Friday + ".</p>\n<table>\n<tr><th>item<th>planned<th>spent\n<tr><td>venue<td>3 000<td>2 400\n<tr><td>print<td>1 000<td>360\n</table>\n";

    const string Budget = "item,planned,spent\nvenue,3000,2400\nprint,1000,360\n";
    const string Invoice = "Enter the second invoice of the venue.";
    const string Signer = "Remember who signs: Mara signs releases.";

    /// <summary>What the model says and calls, round by round, when it is asked for the audit.</summary>
    static readonly (string Text, (string Tool, object Input)[] Calls)[] Rounds =
    [
        ("I will look at what is there first, then read the two files that matter.", [("list_files", new { }), ("read_file", new { path = "plan.txt" })]),
        ("The plan names a launch date. I check the budget and who has to sign.",
            [("search_files", new { query = "budget" }), ("read_file", new { path = "budget.csv" }), ("recall", new { query = "launch" })]),
        ("Now I write the report and retire the stale draft; the latter needs a person.",
            [("write_file", new { path = ".anton/output/report.html", content = Report }), ("delete_file", new { path = "old-draft.txt" })]),
        ("Done. The launch is on **" + Friday + "**, the budget holds with 1 240 USD to spare, and the stale draft is gone.\n\n"
            + "| item | planned | spent |\n|---|---|---|\n| venue | 3 000 | 2 400 |\n| print | 1 000 | 360 |\n\nThe report lies in `.anton/output/report.html`.", []),
    ];

    /// <summary>The same of other messages.</summary>
    static readonly Dictionary<string, (string Text, (string Tool, object Input)[] Calls)[]> Others = new()
    {
        [Invoice] =
        [
            ("The second invoice brings the venue to 2 600 USD.", [("write_file", new { path = "budget.csv", content = "item,planned,spent\nvenue,3000,2600\nprint,1000,360\n" })]),
            ("It is entered.", []),
        ],
        [Signer] = [("", [("remember", new { content = "Mara signs releases." })]), ("I will remember that **Mara** signs releases.", [])],
        ["Which files belong to the launch?"] = [("", [("list_files", new { })]), ("Three of them: `plan.txt`, `budget.csv` and `old-draft.txt`.", [])],
        ["What is left of the budget?"] = [("", [("read_file", new { path = "budget.csv" })]), ("**1 240 USD**: 600 of the venue and 640 of the print.", [])],
        ["Draft the invitation to the launch."] = [("You are invited to the launch on **" + Friday + "**. Please answer by Wednesday.", [])],
    };

    /// <summary>A model takes its time in pictures, so that bars have lengths.</summary>
    readonly TimeSpan pace;
    readonly ModelServer model = new();

    LaunchStory(TimeSpan pace) => (this.pace, model.Otherwise) = (pace, Answer);

    public LiveHost Host { get; private set; } = null!;

    /// <summary>The run that waits with its deletion.</summary>
    public string Waiting { get; private set; } = "";

    /// <summary>The same in another session, where the deletion was approved.</summary>
    public string Done { get; private set; } = "";

    /// <summary>What <see cref="GoOn"/> makes.</summary>
    /// <param name="Again">The run that was asked again, of another plan.</param>
    public sealed record Made(string Again, string Skill, string Schedule, string Scratchpad, string Artifact, string File);

    public static async Task<LaunchStory> Begin(bool isSlow)
    {
        var story = new LaunchStory(isSlow ? TimeSpan.FromMilliseconds(90) : TimeSpan.Zero);
        var settings = new ModelSettings { Name = "sonnet-like", Provider = ModelSettings.OpenAi, Model = "sonnet-like-1", BaseUrl = story.model.Url, Price = new(3, 15) };
        story.Host = await LiveHost.Start(host => host with
        {
            Models = [settings],
            Heads = host.Heads with { Every = TimeSpan.FromSeconds(1) },
            SqliteRoots = [host.Data],
            ConsoleFiles = Environment.GetEnvironmentVariable("COWORK_CONSOLE_FILES"),
        });
        var http = story.Host.Http;
        foreach (var session in (string[])["research", "invoices", "hr-onboarding", "release-notes", "launch-audit"])
        {
            await http.NewSession(session);
            await story.Lay(session, "plan.txt", $"The launch is on {Friday}.\n");
            await story.Lay(session, "budget.csv", Budget);
            await story.Lay(session, "old-draft.txt", "stale\n");
        }
        story.Done = await story.AskAndApprove();
        foreach (var (session, message) in (IEnumerable<(string, string)>)[
            ("release-notes", "When is the launch?"), ("hr-onboarding", "Which files belong to the launch?"), ("hr-onboarding", Signer), ("release-notes", "/fail the model hung up"),
            ("hr-onboarding", "What is left of the budget?"), ("release-notes", "Draft the invitation to the launch."), ("invoices", Invoice)])
        {
            (await http.Post($"/sessions/{session}/turn", JsonSerializer.Serialize(new { message, model = Others.ContainsKey(message) ? settings.Name : "offline" }))).Is(200);
        }
        story.Waiting = await story.Ask("launch-audit");
        return story;
    }

    /// <summary>Asks again, of another plan; makes a skill and runs it, schedules, a scratchpad and files.</summary>
    public async Task<Made> GoOn()
    {
        var http = Host.Http;
        await Lay("research", "plan.txt", $"The launch is on {Monday}.\n");
        await Lay("research", "old-draft.txt", "stale\n");
        var again = await AskAndApprove();
        var artifact = (await http.Get("/artifacts?session_id=research")).Is(200).Json.GetProperty("artifacts").EnumerateArray()
            .Single(each => each.GetProperty("path").GetString()!.EndsWith("report.html", StringComparison.Ordinal)).GetProperty("artifact_id").GetString()!;

        var skill = await Skill("launch-brief", "What readers should know before the launch.", "Write a brief on the launch for {audience}.\nName the date.\n");
        await Skill("weekly-figures", "Planned and spent, by item.", "Show budget.csv of the week {week} as a table.\n");
        await Skill("tidy-up", "Finds what nobody needs any more.", "List files that are older than {days} days. Delete none.\n");
        (await http.Post($"/skills/{skill}/versions", JsonSerializer.Serialize(
            new { prompt_template = "Write a brief on the launch for {audience}, in at most {words} words.\nName the date.\nName who signs.\n" }))).Is(201);
        foreach (var (audience, words) in (IEnumerable<(string, string)>)[("the press", "120"), ("the board", "80"), ("partners", "200")])
        {
            (await http.Post($"/skills/{skill}/run", JsonSerializer.Serialize(
                new { session_id = "release-notes", version = 2, @params = new Dictionary<string, string> { ["audience"] = audience, ["words"] = words } }))).Is(200);
        }

        var schedule = (await http.Post("/scheduled-runs", JsonSerializer.Serialize(new
        {
            session_id = "release-notes",
            skill_id = skill,
            name = "Brief before each call",
            interval_seconds = 14_400,
            @params = new Dictionary<string, string> { ["audience"] = "partners", ["words"] = "60" },
        }))).Is(201)["schedule_id"];
        await http.Until($"/schedules/{schedule}/ledger", got => got.Text.Contains("\"kind\":\"fired\"", StringComparison.Ordinal));
        (await http.Post($"/scheduled-runs/{schedule}/pause")).Is(200);
        (await http.Post($"/scheduled-runs/{schedule}/resume")).Is(200);
        (await http.Post($"/scheduled-runs/{schedule}/trigger", "{}")).IsOneOf(200, 202);
        foreach (var (cron, zone, prompt, status) in (IEnumerable<(string, string, string, string)>)[
            ("0 9 * * MON-FRI", "Europe/Berlin", "What has changed in the plan since yesterday?", "active"), ("30 2 * * *", "America/New_York", "Compare spent with planned.", "active"),
            ("0 18 * * FRI", "Asia/Tokyo", "Summarise the week.", "paused")])
        {
            (await http.Post("/api/v1/schedules", JsonSerializer.Serialize(new { project_id = "proj_00000000000000000000000000", cron, timezone = zone, prompt, status }))).Is(201);
        }

        foreach (var title in (string[])["Reach of the channels", "Prices by city"])
        {
            (await http.Post("/api/v1/scratchpads", JsonSerializer.Serialize(
                new { conversation_id = "hr-onboarding", title, cells = new[] { new { type = "code", content = "1 + 1" } } }))).Is(201);
        }
        var pad = (await http.Post("/api/v1/scratchpads/import", JsonSerializer.Serialize(new { conversation_id = "research", title = "Planned and spent", notebook = Notebook() }))).Is(201)["id"];
        foreach (var (name, type, content) in (IEnumerable<(string, string, string)>)[
            ("brief.md", "text/markdown", "# Brief\n\nThe launch is on **Monday at ten**.\n\n- venue: booked\n- print: in proof\n"), ("contract.txt", "text/plain", "The venue is rented from eight to six.\n"),
            ("budget.csv", "text/csv", Budget)])
        {
            await ConsoleFileSpecs.Upload(Host, "research", name, type, content);
        }
        var file = (await http.Until("/api/v1/files?conversation_id=research", got => !got.Text.Contains("processing", StringComparison.Ordinal)))
            .Json.GetProperty("data")[0].GetProperty("id").GetString()!;
        return new(again, skill, schedule, pad, artifact, file);
    }

    /// <summary>Makes a group that talks, works and connections.</summary>
    /// <returns>The group.</returns>
    public async Task<string> Talk()
    {
        var http = Host.Http;
        (await http.Post("/groups", """{"title":"Press desk"}""")).Is(201);
        (await http.Post("/groups", """{"title":"Offers","is_private":true}""")).Is(201);
        var group = (await http.Post("/groups", """{"title":"Launch room"}""")).Is(201)["group_id"];
        foreach (var user in (string[])["ann", "bob", "carla"])
        {
            (await http.Post($"/groups/{group}/members", JsonSerializer.Serialize(new { user_id = user }))).Is(201);
        }
        (await http.Post($"/groups/{group}/messages", """{"text":"/say The launch is on **Friday** at nine."}""")).Is(202);
        foreach (var (bucket, label, preview, payload) in (IEnumerable<(string, string, string, object)>)[
            ("brand", "Autumn palette", "Five colours for the launch.", new { colours = new[] { "#4650c8", "#0a746a", "#7a4db4", "#8a5100", "#1f6b3b" } }),
            ("listings", "12 Elm Street", "Three rooms and a garden.", new { price = 420_000, rooms = 3, features = new[] { "garden", "cellar" } }),
            ("deals", "Elm Street, offer 2", "405 000 USD, until Friday. The buyer has the means and wants the keys in May.",
                new { price = 405_000, until = "2026-12-04", buyer = new { name = "A. Mercer", financed = true }, conditions = new[] { "survey", "keys in May" } })])
        {
            (await http.Post("/myworks", JsonSerializer.Serialize(new { bucket, label, preview, tags = new[] { "launch" }, payload }))).Is(201);
        }
        await Lay(".", "figures.db", "");
        foreach (var (spec, name, credentials) in (IEnumerable<(string, string, object)>)[
            ("postgres", "Ledger", new { host = "127.0.0.1", port = 1, database = "ledger", user = "reader", password = "x" }),
            ("sqlite", "Figures", new { path = Path.Combine(Host.Data, "workspaces", "figures.db") }), ("github", "Repositories", new { })])
        {
            (await http.Post("/api/v1/connectors/connections", JsonSerializer.Serialize(new { spec_id = spec, name, credentials }))).Is(201);
        }
        return group;
    }

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        await Ledger.CheckLog(Host.Database);
        await model.DisposeAsync();
    }

    /// <summary>Puts a file into a session's folder.</summary>
    Task Lay(string session, string name, string content) => File.WriteAllTextAsync(Path.Combine(Host.Data, "workspaces", session, name), content);

    async Task<string> Skill(string name, string description, string template) =>
        (await Host.Http.Post("/skills", JsonSerializer.Serialize(new { name, description, prompt_template = template }))).Is(201)["skill_id"];

    /// <summary>Cells that were executed elsewhere.</summary>
    static object Notebook()
    {
        const string Table = "<style>table { border-collapse: collapse; font: 13px system-ui } td, th { padding: 3px 16px 3px 0; border-bottom: 1px solid #ddd; text-align: left }</style>"
            + "<table><tr><th>item</th><th>planned</th><th>spent</th><th>left</th></tr><tr><td>venue</td><td>3000</td><td>2400</td><td>600</td></tr>"
            + "<tr><td>print</td><td>1000</td><td>360</td><td>640</td></tr></table>";
        const string Bars = "<svg xmlns='http://www.w3.org/2000/svg' width='420' height='92' font-family='system-ui' font-size='12'>"
            + "<text x='0' y='22'>venue</text><rect x='60' y='8' width='300' height='20' fill='#e4e2dc'/><rect x='60' y='8' width='240' height='20' fill='#4650c8'/>"
            + "<text x='0' y='62'>print</text><rect x='60' y='48' width='100' height='20' fill='#e4e2dc'/><rect x='60' y='48' width='36' height='20' fill='#4650c8'/></svg>";
        static object Code(string id, int count, string source, params object[] outputs) =>
            new { cell_type = "code", id, source, execution_count = count, metadata = new { }, outputs };
        static object Shown(string mime, string data) =>
            new { output_type = "display_data", metadata = new { }, data = new Dictionary<string, string> { [mime] = data, ["text/plain"] = "(shown above)" } };
        return new
        {
            nbformat = 4,
            nbformat_minor = 5,
            metadata = new { },
            cells = new object[]
            {
                new { cell_type = "markdown", id = "head", source = "## Planned and spent\n\nOf `budget.csv`, before the launch.", metadata = new { } },
                Code("load", 1, "budget = pd.read_csv(\"budget.csv\")\nbudget[\"left\"] = budget.planned - budget.spent\nbudget", Shown("text/html", Table)),
                Code("draw", 2, "budget.plot.barh(x=\"item\", y=[\"planned\", \"spent\"])", Shown("image/svg+xml", Bars)),
                Code("sum", 3, "print(budget.left.sum(), \"USD are left\")", new { output_type = "stream", name = "stdout", text = "1240 USD are left\n" }),
            },
        };
    }

    /// <summary>Asks in the session "research", and lets it delete the draft.</summary>
    async Task<string> AskAndApprove()
    {
        var run = await Ask("research");
        var approval = (await Host.Http.Get("/approvals?session_id=research")).Is(200).Json.GetProperty("approvals")[0].GetProperty("approval_id").GetString();
        (await Host.Http.Post($"/approvals/{approval}/decision", """{"approved":true,"note":"It is stale."}""")).Is(200);
        await Host.Http.Until($"/runs/{run}", got => got["status"] == "completed");
        return run;
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
        var last = asked.Body.GetProperty("messages").EnumerateArray().Last(message => message.GetProperty("role").GetString() == "user").GetRawText();
        var rounds = Others.FirstOrDefault(other => last.Contains(other.Key, StringComparison.Ordinal)).Value ?? Rounds;
        var (text, calls) = rounds[Math.Min(round, rounds.Length - 1)];
        // It has read the plan, and says what that says.
        string Said(string words) => asked.Body.GetRawText().Contains(Monday, StringComparison.Ordinal) ? words.Replace(Friday, Monday, StringComparison.Ordinal) : words;
        await asked.Head();
        await Task.Delay(5 * pace, TimeProvider.System);
        foreach (var words in Said(text).Split(' ', StringSplitOptions.RemoveEmptyEntries).Chunk(4))
        {
            await asked.Event(Delta(new { content = string.Join(' ', words) + " " }));
            await Task.Delay(pace, TimeProvider.System);
        }
        foreach (var (index, (tool, input)) in calls.Index())
        {
            await asked.Event(Delta(new { tool_calls = new[] { new { index, id = $"call_{round}{index}", type = "function", function = new { name = tool, arguments = Said(JsonSerializer.Serialize(input)) } } } }));
        }
        await asked.Event(JsonSerializer.Serialize(new { choices = new[] { new { index = 0, delta = new { }, finish_reason = calls.Length > 0 ? "tool_calls" : "stop" } } }));
        await asked.Event(JsonSerializer.Serialize(new { choices = Array.Empty<object>(), usage = new { prompt_tokens = asked.Body.GetRawText().Length / 4, completion_tokens = 20 + (text.Length / 4) } }));
        await asked.Event("[DONE]");
        await asked.End();
    }

    static string Delta(object delta) => JsonSerializer.Serialize(new { model = "sonnet-like-1", choices = new[] { new { index = 0, delta } } });
}
