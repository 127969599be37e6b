using System.Net.WebSockets;
using System.Text;
using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Kill.Tests;

/// <summary>Hosts that are killed while members of a group are connected to them and an agent answers.</summary>
public sealed class GroupKillSpecs
{
    const int Members = 4;

    [Fact]
    public async Task Clients_of_a_host_that_is_killed_amid_an_answer_see_its_end_at_the_other_and_each_message_once()
    {
        foreach (var (nr, seed) in Seeds.Many(ordinary: 2, chaos: 20).Index())
        {
            var random = new Random(seed);
            var isAmidAnswer = nr % 2 == 0;
            var data = TestPostgres.NewDirectory();
            var database = await TestPostgres.NewDatabase();
            (string, string)[] shared = [("COWORK_MASTER_KEY", Convert.ToBase64String(Encoding.ASCII.GetBytes("0123456789abcdef0123456789abcdef"))), ("Cowork__WorkspaceRoots__0", data)];
            var hosts = new List<HostProcess>
            {
                await HostProcess.Start(Path.Combine(data, "a"), database, environment: shared),
                await HostProcess.Start(Path.Combine(data, "b"), database, environment: shared),
            };
            try
            {
                var group = (await hosts[0].Http.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"];
                var members = Enumerable.Range(0, Members).Select(nr => new Member(hosts, group, first: nr % 2)).ToList();
                var says = string.Join(' ', Enumerable.Range(0, 400).Select(word => $"word{word}"));
                var question = $"/tool list_files {{}}\n/sleep 300\n/say {says}";
                await using var asker = await GroupClient.Open(hosts[0].Url, group, await Member.Token(hosts[0], group));
                await asker.Say(question, "ask");
                if (isAmidAnswer)
                {
                    await asker.Until("agent_start");
                }
                await Task.Delay(random.Next(isAmidAnswer ? 400 : 900));
                await hosts[0].Kill();

                // The host may have died before it stored the message. Who has not been shown it sends it again, and it is stored once.
                var watching = Task.WhenAll(members.Select(member => member.UntilDone("ask")));
                await using var other = await GroupClient.Open(hosts[1].Url, group, await Member.Token(hosts[1], group));
                await other.Say(question, "ask");
                await other.Until("user_message_stored");
                var seen = await watching;
                Assert.All(seen, messages => Assert.Equal(Enumerable.Range(1, messages.Count).Select(i => (long)i), messages.Select(message => message.GetProperty("seq").GetInt64())));
                var shortest = seen.Min(messages => messages.Count);
                var first = seen[0].Take(shortest).Select(message => message.GetRawText()).ToList();
                Assert.All(seen, messages => Assert.Equal(first, messages.Take(shortest).Select(message => message.GetRawText())));
                var answer = Assert.Single(seen[0], message => message.GetProperty("type").GetString() == "agent_message");
                Assert.Equal(says, answer.GetProperty("text").GetString());
                Assert.Single(seen[0], message => message.GetProperty("type").GetString() == "user_message_stored");
                Assert.Equal("completed", seen[0][^1].GetProperty("status").GetString());

                // What was in flight is sent again, and stored once.
                await using var again = await GroupClient.Open(hosts[1].Url, group, await Member.Token(hosts[1], group), seen[0].Count);
                await again.Say(question, "ask");
                var repeated = (await again.Next())!.Value;
                Assert.Equal((1L, true), (repeated.GetProperty("seq").GetInt64(), repeated.GetProperty("repeated").GetBoolean()));
                await again.Say("hello", "more");
                Assert.Equal(seen[0].Count + 1L, (await again.Next())!.Value.GetProperty("seq").GetInt64());

                // The connections of the killed host are over with its lease.
                await hosts[1].Http.Until($"/groups/{group}/presence", got => got.Json.GetProperty("connected").GetArrayLength() == 1);
            }
            finally
            {
                foreach (var host in hosts)
                {
                    await host.DisposeAsync();
                }
            }
            await Ledger.CheckLog(database);
        }
    }

    /// <summary>A client that connects again, to the next host, whenever its connection ends.</summary>
    sealed class Member(IReadOnlyList<HostProcess> hosts, string group, int first)
    {
        readonly List<JsonElement> seen = [];

        public static async Task<string> Token(HostProcess host, string group) => (await host.Http.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"];

        /// <summary>All messages up to the end of the run that answers a message.</summary>
        public async Task<List<JsonElement>> UntilDone(string messageId)
        {
            using var deadline = new CancellationTokenSource(Patience.Limit);
            for (var at = first; !deadline.IsCancellationRequested; at++)
            {
                try
                {
                    var host = hosts[at % hosts.Count];
                    await using var client = await GroupClient.Open(host.Url, group, await Token(host, group), seen.Count == 0 ? null : seen.Count);
                    while (await client.Next() is { } message)
                    {
                        seen.Add(message);
                        if (message.GetProperty("type").GetString() == "done" && message.GetProperty("message_id").GetString() == messageId)
                        {
                            return seen;
                        }
                    }
                }
                catch (Exception e) when (e is WebSocketException or HttpRequestException or IOException)
                {
                    // The host is gone: the next one.
                }
            }
            throw new TimeoutException($"No end of the answer to {messageId} after {seen.Count} messages.");
        }
    }
}
