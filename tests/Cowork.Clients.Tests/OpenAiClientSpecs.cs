using System.Diagnostics;
using System.Text.Json;

namespace Cowork.Clients.Tests;

/// <summary>The client of OpenAI for JavaScript, as npm has it, pointed at this host.</summary>
public sealed class OpenAiClientSpecs(TestTenant tenant) : IClassFixture<TestTenant>
{
    /// <summary>What each program has before it: the client, and a way to answer.</summary>
    const string Before = """
        const OpenAI = require("openai").OpenAI;
        const client = new OpenAI({ baseURL: process.env.COWORK + "/api/v1", apiKey: process.env.COWORK_TOKEN, maxRetries: 0 });
        const conversation = process.env.CONVERSATION;
        const answer = value => console.log(JSON.stringify(value));

        """;

    [Fact]
    public async Task Responses_are_created_with_a_stream()
    {
        var told = await Run("""
            const stream = await client.responses.create({ model: "offline", conversation, input: "/say hello there", stream: true });
            const types = [], numbers = [];
            let text = "", last;
            for await (const event of stream) {
                types.push(event.type); numbers.push(event.sequence_number);
                if (event.type === "response.output_text.delta") text += event.delta;
                last = event;
            }
            answer({ types: [...new Set(types)], dense: numbers.every((n, i) => n === i), text, status: last.response.status, last: last.response.output.at(-1).content[0].text });
            """);
        Assert.Equal("response.created", told.GetProperty("types")[0].GetString());
        Assert.Equal("response.completed", told.GetProperty("types").EnumerateArray().Last().GetString());
        Assert.Equal(
            (true, "hello there", "completed", "hello there"),
            (told.GetProperty("dense").GetBoolean(), Text(told, "text"), Text(told, "status"), Text(told, "last")));
    }

    [Fact]
    public async Task The_helper_that_gathers_a_stream_ends_with_the_reply()
    {
        var told = await Run("""
            const deltas = [];
            const runner = client.responses.stream({ model: "offline", conversation, input: "/tool list_files {}\n/say all seen" })
                .on("response.output_text.delta", event => deltas.push([event.delta, event.snapshot]));
            const final = await runner.finalResponse();
            answer({ text: final.output_text, status: final.status, deltas: deltas.map(d => d[0]).join(""), snapshot: deltas.at(-1)[1] });
            """);
        Assert.Equal(("all seen", "completed"), (Text(told, "text"), Text(told, "status")));
        Assert.EndsWith("all seen", Text(told, "deltas"), StringComparison.Ordinal);
        Assert.Equal("all seen", Text(told, "snapshot"));
    }

    [Fact]
    public async Task A_client_that_leaves_stops_nothing_and_follows_again_where_it_was()
    {
        var told = await Run("""
            const stream = await client.responses.create({ model: "offline", conversation, input: "/sleep 1500\n/say still here", stream: true });
            let id, seen;
            for await (const event of stream) {
                id ??= event.response.id; seen = event.sequence_number;
                if (event.type === "response.in_progress") break;
            }
            const rest = [];
            for await (const event of await client.responses.retrieve(id, { stream: true, starting_after: seen })) rest.push(event);
            const whole = await client.responses.retrieve(id);
            answer({ first: rest[0].sequence_number - seen, end: rest.at(-1).type, text: whole.output.at(-1).content[0].text, status: whole.status });
            """);
        Assert.Equal((1, "response.completed", "still here", "completed"), (told.GetProperty("first").GetInt32(), Text(told, "end"), Text(told, "text"), Text(told, "status")));
    }

    [Fact]
    public async Task A_response_comes_as_one_object_is_cancelled_and_a_refusal_is_an_error_of_the_client()
    {
        var told = await Run("""
            const one = await client.responses.create({ model: "offline", conversation, input: "/say one", stream: false });
            const stream = await client.responses.create({ model: "offline", conversation, input: "/sleep 60000", stream: true });
            let last, id;
            for await (const event of stream) {
                id ??= event.response?.id; last = event;
                if (event.type === "response.in_progress") await client.responses.cancel(id);
            }
            let refused;
            try { await client.responses.create({ model: "offline", conversation: "conv_nowhere", input: "x" }); } catch (e) { refused = e; }
            answer({ text: one.output_text, end: last.type, how: last.response.status, status: refused.status, kind: refused.constructor.name });
            """);
        // The client has no word for what is cancelled, and would fail on ours.
        Assert.Equal(
            ("one", "response.incomplete", "cancelled", "404", "NotFoundError"),
            (Text(told, "text"), Text(told, "end"), Text(told, "how"), Text(told, "status"), Text(told, "kind")));
    }

    static string Text(JsonElement of, string member) => of.GetProperty(member).ToString();

    /// <summary>Runs a program with a conversation of its own. Answers what it has printed.</summary>
    async Task<JsonElement> Run(string program)
    {
        var file = Path.Combine(Directory.CreateTempSubdirectory("cowork-openai-").FullName, "program.js");
        await File.WriteAllTextAsync(file, $"{Before}(async () => {{\n{program}\n}})().catch(e => {{ console.error(e); process.exit(1); }});\n");
        var start = new ProcessStartInfo("node", [file]) { RedirectStandardOutput = true, RedirectStandardError = true };
        start.Environment["NODE_PATH"] = await Generators.Modules();
        start.Environment["COWORK"] = tenant.Host.Url;
        start.Environment["COWORK_TOKEN"] = await tenant.Host.Token(tenant.Org, "member");
        start.Environment["CONVERSATION"] = (await tenant.Http.NewSession()).Replace("sess_", "conv_", StringComparison.Ordinal);
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync();
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        Directory.Delete(Path.GetDirectoryName(file)!, recursive: true);
        Assert.True(process.ExitCode == 0, await errors);
        return JsonElement.Parse(output);
    }
}
