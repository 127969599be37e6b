using System.Text.Json.Nodes;

namespace Cowork.Web.Tests;

/// <summary>
/// What a tenant has, and whether another one can see any of it, or what there was, and whether anybody still can: every route of /openapi.json with its ids, by every verb that
/// the route has.
/// </summary>
sealed class TenantProbe
{
    /// <summary>What required parameters of queries are given that are no ids.</summary>
    static readonly Dictionary<string, string> Asked = new()
    {
        ["q"] = "topsecret",
        ["cron"] = "0 9 * * 1",
        ["path"] = "r.md",
        ["from"] = "1",
        ["event"] = "1",
    };

    /// <summary>What every body wants, in one.</summary>
    const string Body = """
        {"message":"hello","approved":true,"prompt_template":"x","session_id":"other","roles":["member"],"type":"code","prompt":"x","feedback":"x","text":"x","reason":"x"}
        """;

    readonly Dictionary<string, string> ids;

    /// <summary>The word of what is gone; null: all is there, in another tenant.</summary>
    readonly string? gone;

    TenantProbe(Dictionary<string, string> ids, string? gone = null) => (this.ids, this.gone) = (ids, gone);

    /// <summary>Looks for what has expired, in its own tenant. The feed goes on naming its ids.</summary>
    /// <param name="ids">As parameters of paths name them; of routes with others nothing is asked.</param>
    /// <param name="word">In all that was said.</param>
    public static TenantProbe OfGone(Dictionary<string, string> ids, string word) => new(ids, word);

    public string Run => ids["{run_id}"];

    /// <summary>Makes one of everything. Each holds the word <c>topsecret</c>.</summary>
    /// <param name="theirs">Calls as an admin and member of the tenant that is probed.</param>
    public static async Task<TenantProbe> Fill(HttpClient theirs)
    {
        await theirs.NewSession("private");
        var run = (await theirs.Turn("private", "/say topsecret")).Is(200)["run_id"];
        await theirs.NewSession("held");
        var held = (await theirs.Turn("held", "/tool write_file {\"path\":\"r.md\",\"content\":\"topsecret\"}")).Is(200);
        var skill = (await theirs.Post("/skills", """{"name":"topsecret","prompt_template":"/say topsecret"}""")).Is(201)["skill_id"];
        var written = (await theirs.Turn("private", "/tool write_file {\"path\":\".anton/output/r.md\",\"content\":\"topsecret\"}")).Is(200)["run_id"];
        var schedule = (await theirs.Post(
            "/scheduled-runs", $$"""{"name":"topsecret","session_id":"private","skill_id":"{{skill}}","interval_seconds":3600,"active":false}""")).Is(201)["schedule_id"];
        var project = (await theirs.Post("/api/v1/projects", """{"name":"topsecret"}""")).Is(201)["id"];
        (await theirs.Post("/api/v1/conversations", $$"""{"project_id":"{{project}}","title":"topsecret","goal":"topsecret"}""")).Is(201);
        var connection = (await theirs.Post(
            "/api/v1/connectors/connections",
            """{"spec_id":"postgres","name":"topsecret","credentials":{"host":"127.0.0.1","port":1,"database":"topsecret","user":"topsecret","password":"topsecret"}}""")).Is(201)["id"];
        (await theirs.Post("/api/cowork/sessions", """{"connectors":[{"provider":"postgres","scopes":["topsecret"]}]}""")).Is(201);
        var group = (await theirs.Post("/groups", """{"title":"topsecret"}""")).Is(201)["group_id"];
        (await theirs.Post($"/groups/{group}/messages", """{"text":"/say topsecret"}""")).Is(202);
        var file = (await theirs.Upload("topsecret", "topsecret.txt")).Is(201)["id"];
        var pad = (await theirs.Post(
            "/api/v1/scratchpads", """{"conversation_id":"private","title":"topsecret","cells":[{"type":"code","content":"topsecret"}]}""")).Is(201);
        var work = (await theirs.Post("/myworks", """{"bucket":"brand","label":"topsecret","payload":{"a":"topsecret"}}""")).Is(201)
            .Json.GetProperty("data").GetProperty("work").GetProperty("work_id").GetString()!;
        var app = (await theirs.Post(
            "/infra/app-keys",
            """{"app":"topsecret","public_key":{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}}""")).Is(201);
        async Task<string> First(string path, string list, string id) => (await theirs.Get(path)).Is(200).Json.GetProperty(list)[0].GetProperty(id).GetString()!;
        var artifact = await First($"/runs/{written}/artifacts", "artifacts", "artifact_id");
        return new(new()
        {
            ["{event}"] = (await theirs.Get("/events?limit=1")).Is(200).Json.GetProperty("events")[0].GetProperty("gid").ToString(),
            ["{session_id}"] = "private",
            ["{sessionId}"] = "private",
            ["{run_id}"] = run,
            ["{taskId}"] = run,
            ["{approval_id}"] = held.Json.GetProperty("pending_approval_ids")[0].GetString()!,
            ["{token_id}"] = await First("/tokens", "tokens", "token_id"),
            ["{skill_id}"] = skill,
            ["{memory_id}"] = await First("/sessions/private/memories", "memories", "memory_id"),
            ["{artifact_id}"] = artifact,
            ["{artifactId}"] = artifact,
            ["{version}"] = "1",
            ["{schedule_id}"] = schedule,
            ["{project_id}"] = project,
            ["{group_id}"] = group,
            // A name is no tenant's secret.
            ["{user_id}"] = "ann",
            ["{file_id}"] = file,
            ["{connection_id}"] = connection,
            ["{path}"] = "r.md",
            // What services there are is no tenant's secret; there is none of this name.
            ["{spec}"] = "topsecret",
            ["{work_id}"] = work,
            ["{kid}"] = app["kid"],
            [AsOf] = (await theirs.Get("/events?limit=1000")).Is(200)["next_since_id"],
            ["{scratchpad_id}"] = pad["id"],
            ["{cell_id}"] = pad.Json.GetProperty("cells")[0].GetProperty("id").GetString()!,
        });
    }

    /// <summary>Answers a line for each thing that can be seen, and how many routes were tried.</summary>
    /// <param name="ours">Calls as an admin and member of another tenant.</param>
    /// <param name="readsOnly">Nothing is changed, and no stream is followed, which would not end.</param>
    public async Task<(List<string> Seen, int Probed)> Look(HttpClient ours, bool readsOnly = false)
    {
        await ours.Post("/sessions", """{"session_id":"other"}""");
        var document = JsonNode.Parse((await ours.Get("/openapi.json")).Text)!;
        var (seen, probed) = (new List<string>(), 0);
        foreach (var (template, operations) in document["paths"]!.AsObject().Where(p => p.Key.Contains('{', StringComparison.Ordinal)))
        {
            var isStream = template.EndsWith("/stream", StringComparison.Ordinal) || template == "/api/cowork/sessions/{sessionId}/events";
            var wanted = operations!.AsObject().Where(operation => !readsOnly || (operation.Key == "get" && !isStream));
            foreach (var (method, _) in wanted)
            {
                var path = ids.Aggregate(template, (path, id) => path.Replace(id.Key, id.Value, StringComparison.Ordinal));
                if (gone is not null && path.Contains('{', StringComparison.Ordinal))
                {
                    continue;
                }
                var body = method is "post" or "patch" ? ProbeBodies.OfClosed(template, fromEvent: 1) ?? Body : null;
                var got = await ours.Send(new HttpMethod(method.ToUpperInvariant()), path, body);
                if (!IsHidden(got))
                {
                    seen.Add($"{method} {template}: {(int)got.Status} {got.Text}");
                }
                probed++;
                // At a moment when it was there it is no more theirs to see.
                if (method == "get" && HasMoment(operations[method]) && await ours.Get($"{path}?as_of={ids[AsOf]}") is var past && !IsHidden(past))
                {
                    seen.Add($"{method} {template} as of then: {(int)past.Status} {past.Text}");
                }
            }
        }
        foreach (var (path, operations) in document["paths"]!.AsObject().Where(p => !p.Key.Contains('{', StringComparison.Ordinal) && p.Value!["get"] is not null))
        {
            // A page for browsers answers whoever comes with a state, and says nothing without one.
            if (path.EndsWith("/stream", StringComparison.Ordinal) || path.EndsWith("/shell/events", StringComparison.Ordinal) || path.EndsWith("/oauth/callback", StringComparison.Ordinal))
            {
                continue;
            }
            var parameters = (operations!["get"]!["parameters"]?.AsArray() ?? []).Where(parameter => (string?)parameter!["in"] == "query").ToList();
            var always = parameters.Where(parameter => (bool?)parameter!["required"] == true || (string?)parameter["name"] == "limit").Select(Query).ToList();
            // Whole, and by each id of theirs.
            foreach (var more in parameters.Where(IsId).Select(Query).Except(always).Prepend(null))
            {
                var query = $"{path}?{string.Join('&', always.Append(more).OfType<string>())}";
                var got = await ours.Get(query);
                if (!(IsHidden(got) || ((int)got.Status == 200 && !Words().Any(word => Said(got).Contains(word, StringComparison.Ordinal)))))
                {
                    seen.Add($"{query}: {(int)got.Status} {got.Text}");
                }
                probed++;
            }
        }
        return (seen, probed);
    }

    /// <summary>The answer without the question, which a search repeats.</summary>
    static string Said(Got got) => got.Text.Replace($"\"q\":\"{Asked["q"]}\"", "", StringComparison.Ordinal);

    /// <summary>It is as if it were not there, the caller may not ask, or whoever asks must open a WebSocket.</summary>
    bool IsHidden(Got got) => ((int)got.Status, got.Code) is (404, "not_found") or (426, _) || (gone is null ? (int)got.Status == 403 : (int)got.Status == 410);

    /// <summary>Where among the ids a position stands at which all of it was there.</summary>
    const string AsOf = "as_of";

    static bool HasMoment(JsonNode? operation) => (operation!["parameters"]?.AsArray() ?? []).Any(parameter => (string?)parameter!["name"] == AsOf);

    IEnumerable<string> Words() => gone is not null ? [gone] : ids.Values.Where(id => id.Length > 20).Append("topsecret").Append("\"private\"");

    static bool IsId(JsonNode? parameter) =>
        ((string)parameter!["name"]!).EndsWith("_id", StringComparison.Ordinal) && (string?)parameter["schema"]?["type"] == "string";

    string Query(JsonNode? parameter)
    {
        var name = (string)parameter!["name"]!;
        var value = name switch
        {
            "limit" => parameter["schema"]?["maximum"]?.ToString() ?? "100",
            "conversation_id" => ids["{session_id}"],
            "left" or "right" => ids["{run_id}"],
            _ when ids.TryGetValue($"{{{name}}}", out var id) => id,
            _ => Asked.GetValueOrDefault(name, "x"),
        };
        return $"{name}={Uri.EscapeDataString(value)}";
    }
}
