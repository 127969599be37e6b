using System.Text.Json;

using Xunit;

namespace Cowork.Domain.Tests;

public sealed class IdsSpec
{
    const string Key = "01kdvkjr000000000000000001";

    [Fact]
    public void A_key_begins_with_its_time_and_sorts_by_it()
    {
        var keys = Enumerable.Range(0, 1_000).Select(i => Ids.NewKey(A.Later(i))).ToList();
        Assert.All(keys, key => Assert.True(Ids.IsKey(key), key));
        Assert.Equal(keys.Order(StringComparer.Ordinal), keys);
        Assert.Equal(1_000, keys.Distinct().Count());
    }

    [Theory]
    [InlineData("sess_" + Key, Key)]
    [InlineData("conv_" + Key, Key)]
    [InlineData(Key, Key)]
    [InlineData("mine", "mine")]
    [InlineData("conv_mine", "mine")]
    [InlineData("run_" + Key, null)]    // an id of something else
    [InlineData("sess_mine", null)]     // our prefix, not our id
    [InlineData("a/b", null)]
    [InlineData("", null)]
    [InlineData("ä", null)]
    [InlineData("a\0b", null)]
    public void A_session_goes_by_any_of_its_forms(string id, string? key) => Assert.Equal(key, SessionKey.Parse(id)?.Value);

    [Theory]
    [InlineData("run_" + Key, Key)]
    [InlineData("resp_" + Key, Key)]
    [InlineData("task_" + Key, Key)]
    [InlineData(Key, Key)]
    [InlineData("sess_" + Key, null)]
    [InlineData("run_01KDVKJR000000000000000001", null)] // lower case only
    [InlineData("run_81kdvkjr00000000000000000i", null)]
    [InlineData("run_", null)]
    public void A_run_goes_by_any_of_its_forms(string id, string? key) => Assert.Equal(key, RunKey.Parse(id)?.Value);

    [Fact]
    public void A_run_has_an_id_for_each_contract()
    {
        var run = new RunKey(Key);
        Assert.Equal(("run_" + Key, "resp_" + Key, "task_" + Key), (run.Id, run.ResponseId, run.TaskId));
        Assert.All([run.Id, run.ResponseId, run.TaskId, run.Value], id => Assert.Equal(run, RunKey.Parse(id)));
    }

    [Theory]
    [InlineData(Key, "sess_" + Key, "conv_" + Key)]
    [InlineData("mine", "mine", "conv_mine")]
    public void A_session_has_an_id_for_each_contract(string key, string id, string conversation)
    {
        var session = new SessionKey(key);
        Assert.Equal((id, conversation), (session.Id, session.ConversationId));
        Assert.All([id, conversation, key], form => Assert.Equal(session, SessionKey.Parse(form)));
    }

    [Fact]
    public void A_client_that_chose_a_ULID_sees_what_it_chose_and_it_is_the_same_session()
    {
        Assert.Equal(Key, SessionKey.Own(Key).Id);
        Assert.Equal(new SessionKey(Key), SessionKey.Own(Key));
        Assert.Equal(new SessionKey(Key).GetHashCode(), SessionKey.Own(Key).GetHashCode());
    }

    /// <summary>Also what no generator of ours has made, so that old data stays as it is to the byte.</summary>
    [Theory]
    [InlineData("sess_" + Key)]
    [InlineData(Key)]
    [InlineData("mine")]
    [InlineData("sess_01k9golden0000000000000000")]
    public void A_sessions_id_is_written_as_it_was_read(string id)
    {
        Assert.Equal(id, SessionKey.FromId(id).Id);
        Assert.Equal($"\"{id}\"", JsonSerializer.Serialize(JsonSerializer.Deserialize<SessionKey>($"\"{id}\"")));
    }

    [Theory]
    [InlineData("run_" + Key)]
    [InlineData("run_01k9golden0000000000000000")]
    [InlineData("r1")]
    public void A_runs_id_is_written_as_it_was_read(string id) =>
        Assert.Equal($"\"{id}\"", JsonSerializer.Serialize(JsonSerializer.Deserialize<RunKey>($"\"{id}\"")));

    [Fact]
    public void A_key_is_equal_by_its_value_in_whatever_form_it_was_read()
    {
        Assert.Equal(new RunKey(Key), RunKey.FromId(Key));
        Assert.Equal(new RunKey(Key).GetHashCode(), RunKey.FromId(Key).GetHashCode());
        Assert.NotEqual(new RunKey(Key), RunKey.FromId("r1"));
    }

    [Theory]
    [InlineData("null")]
    [InlineData("5")]
    [InlineData("{}")]
    public void What_is_no_text_is_no_id(string json)
    {
        Assert.Throws<JsonException>(() => JsonSerializer.Deserialize<RunKey>(json));
        Assert.Throws<JsonException>(() => JsonSerializer.Deserialize<SessionKey>(json));
    }

    [Fact]
    public void The_ids_of_things_have_their_own_prefixes()
    {
        Assert.Equal(
            ["appr_" + Key, "art_" + Key, "mem_" + Key, "skill_" + Key, "sched_" + Key, "token_" + Key],
            [
                new ApprovalKey(Key).Id, new ArtifactKey(Key).Id, new MemoryKey(Key).Id, new SkillKey(Key).Id, new ScheduleKey(Key).Id,
                new TokenKey(Key).Id,
            ]);
        Assert.Null(SkillKey.Parse("sched_" + Key));
        Assert.Equal(new SkillKey(Key), SkillKey.Parse(Key));
    }

    [Fact]
    public void A_clients_id_has_a_length()
    {
        Assert.True(Ids.IsClientChosen(new('a', Limits.IdCharsMax)));
        Assert.False(Ids.IsClientChosen(new('a', Limits.IdCharsMax + 1)));
    }

    // No InlineData: attributes are stored as UTF-8, which has no lone surrogates.
    public static TheoryData<string, string> Texts => new()
    {
        { "plain", "plain" },
        { "nul\0", "nul\\u0000" },
        { "lone\ud800", "lone\\ud800" },
        { "\udc00x", "\\udc00x" },
        { "pair😀", "pair😀" },
        { "", "" },
    };

    [Theory]
    [MemberData(nameof(Texts), DisableDiscoveryEnumeration = true)]
    public void Text_that_cannot_be_stored_is_written_out(string text, string stored)
    {
        Assert.Equal(stored, StorableText.Escape(text));
        Assert.Equal(text == stored, StorableText.IsStorable(text));
    }
}
