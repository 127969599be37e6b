using Xunit;

using static Cowork.Domain.SkillCommand;
using static Cowork.Domain.SkillEvent;
using static Cowork.Domain.UniqueNameCommand;
using static Cowork.Domain.UniqueNameEvent;

namespace Cowork.Domain.Tests;

public sealed class SkillSpec
{
    static readonly SkillKey Id = SkillKey.FromId("skill_01kdvkjr000000000000000007");
    static readonly SkillKey OtherId = SkillKey.FromId("skill_01kdvkjr000000000000000008");

    static readonly Spec<SkillKey, SkillCommand, SkillEvent, Skill> Skills = new(Skill.Aggregate);
    static readonly Spec<DigestKey, UniqueNameCommand, UniqueNameEvent, UniqueName> Names = new(UniqueName.Aggregate);
    static readonly SkillDefinition Template = new("churn", "", "{}", Content.Of("Show churn by {dimension}."), ["dimension"], null, []);
    static readonly SkillDefinition Instructions = new("churn", "", "{}", null, [], Content.Of("Use tables."), ["read_file"]);
    static readonly SkillCreated Created = new(Id, Template, A.Morning);
    static readonly SkillVersionAdded Added = new(2, Instructions, A.Morning);

    [Fact]
    public void A_skill_begins_with_version_1() => Skills.Given().When(new Create(Id, Template, A.Morning)).Then(Created);

    [Fact]
    public void Versions_are_numbered_from_1_and_stay_as_they_are()
    {
        var live = Assert.IsType<Skill.Live>(Skills.Given(Created).When(new AddVersion(Instructions, A.Morning)).Then(Added));
        Assert.Equal([(1, Template), (2, Instructions)], live.Versions.Select(v => (v.Version, v.Definition)));
    }

    [Fact]
    public void The_same_creation_again_is_silence() => Skills.Given(Created, Added).When(new Create(Id, Template, A.Morning)).ThenNothing();

    [Fact]
    public void A_skill_has_so_many_versions_and_no_more()
    {
        SkillEvent[] many = [Created, .. Enumerable.Range(2, Limits.SkillVersionsMax - 1).Select(n => new SkillVersionAdded(n, Template, A.Morning))];
        Skills.Given(many[..^1]).When(new AddVersion(Template, A.Morning)).ThenSome();
        Assert.Equal(409, Skills.Given(many).When(new AddVersion(Template, A.Morning)).ThenRefused("skill_versions_full").Status);
    }

    [Fact]
    public void A_deleted_skill_takes_nothing_more()
    {
        var deleted = new SkillDeleted(A.Morning);
        Skills.Given(Created).When(new Delete(A.Morning)).Then(deleted);
        Skills.Given(Created, deleted).When(new Delete(A.Morning)).ThenRefused("not_found");
        Skills.Given(Created, deleted).When(new AddVersion(Template, A.Morning)).ThenRefused("not_found");
        Skills.Given(Created, deleted).When(new Create(Id, Template, A.Morning)).ThenRefused("not_found");
        Skills.Given().When(new AddVersion(Template, A.Morning)).ThenRefused("not_found");
    }

    [Theory]
    [InlineData(null, 3, null, 0)]
    [InlineData(1, 1, null, 0)]
    [InlineData(2, 0, "skill_without_template", 422)] // it has instructions only
    [InlineData(3, 3, null, 0)]
    [InlineData(4, 0, "not_found", 404)]
    [InlineData(0, 0, "invalid_version", 400)]
    [InlineData(-1, 0, "invalid_version", 400)]
    public void The_version_to_run(int? asked, int version, string? code, int status)
    {
        var (found, refused) = Skill.ToRun(Skills.Given(Created, Added, new SkillVersionAdded(3, Template, A.Morning)).State, asked);
        Assert.Equal((version, code, status), (found?.Version ?? 0, refused?.Code, refused?.Status ?? 0));
    }

    [Fact]
    public void What_is_not_there_is_not_run()
    {
        Assert.Equal("not_found", Skill.ToRun(new Skill.None(), null).Refused?.Code);
        Assert.Equal("not_found", Skill.ToRun(Skills.Given(Created, new SkillDeleted(A.Morning)).State, 1).Refused?.Code);
    }

    [Theory]
    [InlineData("cohort_churn", true)]
    [InlineData("weekly-report", true)]
    [InlineData("A9", true)]
    [InlineData("", false)]
    [InlineData("a b", false)]
    [InlineData("a.b", false)]
    [InlineData("größe", false)]
    [InlineData("a/b", false)]
    public void A_name_has_letters_digits_underscores_and_hyphens(string name, bool valid) => Assert.Equal(valid, Skill.IsName(name));

    [Theory]
    [InlineData("weekly-report", true)]
    [InlineData("a", true)]
    [InlineData("7-days-2", true)]
    [InlineData("Weekly-report", false)]
    [InlineData("weekly_report", false)]
    [InlineData("-weekly", false)]
    [InlineData("weekly-", false)]
    [InlineData("weekly--report", false)]
    [InlineData("-", false)]
    [InlineData("", false)]
    public void A_name_of_contract_B_is_kebab_case(string name, bool valid) => Assert.Equal(valid, Skill.IsKebabCase(name));

    [Theory]
    [InlineData("/weekly-report for Q2", "weekly-report")]
    [InlineData("/weekly-report", "weekly-report")]
    [InlineData("/cohort_churn\nby region", "cohort_churn")]
    [InlineData("/usr/bin is full", null)]
    [InlineData("/ weekly-report", null)]
    [InlineData("/", null)]
    [InlineData(" /weekly-report", null)]
    [InlineData("weekly-report", null)]
    [InlineData("/weekly-report: now", null)]
    public void A_message_asks_for_a_skill_by_a_slash_and_its_name(string message, string? name) => Assert.Equal(name, Skill.NameAskedFor(message));

    [Fact]
    public void A_change_adds_a_version_when_it_says_something_else()
    {
        var same = new SkillDefinition("churn", "", "{}", Content.Of("Show churn by {dimension}."), ["dimension"], null, []);
        Skills.Given(Created).When(new Change(same, A.Morning)).ThenNothing();
        Skills.Given(Created).When(new Change(Instructions, A.Morning)).Then(Added);
        Skills.Given(Created).When(new AddVersion(same, A.Morning)).Then(new SkillVersionAdded(2, same, A.Morning));
        Skills.Given().When(new Change(same, A.Morning)).ThenRefused("not_found");
        SkillEvent[] many = [Created, .. Enumerable.Range(2, Limits.SkillVersionsMax - 1).Select(n => new SkillVersionAdded(n, Template, A.Morning))];
        Skills.Given(many).When(new Change(Instructions, A.Morning)).ThenRefused("skill_versions_full");
        Skills.Given(many).When(new Change(same, A.Morning)).ThenNothing();
    }

    [Theory]
    [InlineData("", "", true)]
    [InlineData("recall", "", true)]
    [InlineData("", "read_file recall", true)]
    [InlineData("read_file", "", false)]
    [InlineData("read_file", "list_files", false)]
    [InlineData("read_file recall", "list_files", true)]
    public void A_run_may_call_what_any_of_its_skills_names_or_all_when_none_names_any(string first, string second, bool mayRecall)
    {
        static ActiveSkill Active(string tools) => new(Id, "x", 1, null, tools.Length == 0 ? null : [.. tools.Split(' ')]);
        var request = new RunRequest(A.Run, A.Session, Content.Of("x"), "m", null, Skills: [Active(first), Active(second)]);
        Assert.Equal(mayRecall, request.MayCall("recall"));
        Assert.True((request with { Skills = null }).MayCall("recall"));
    }

    [Fact]
    public void A_name_has_at_most_64_characters()
    {
        Assert.True(Skill.IsName(new('a', 64)));
        Assert.False(Skill.IsName(new('a', 65)));
    }

    [Fact]
    public void A_name_is_had_by_one_at_a_time()
    {
        var claimed = new NameClaimed("skill", "churn", Id.Id, A.Morning);
        var claim = new Claim("skill", "churn", Id.Id, A.Morning);
        Names.Given().When(claim).Then(claimed);
        Names.Given(claimed).When(claim).ThenNothing();
        var refused = Names.Given(claimed).When(claim with { Owner = OtherId.Id }).ThenRefused("skill_exists");
        Assert.Equal((409, Id.Id), (refused.Status, refused.Existing));
    }

    [Fact]
    public void A_name_is_given_back_by_who_has_it()
    {
        var claimed = new NameClaimed("skill", "churn", Id.Id, A.Morning);
        var released = new NameReleased(Id.Id, A.Morning);
        Names.Given(claimed).When(new Release(OtherId.Id, A.Morning)).ThenNothing();
        Names.Given(claimed).When(new Release(Id.Id, A.Morning)).Then(released);
        Names.Given().When(new Release(Id.Id, A.Morning)).ThenNothing();
        Names.Given(claimed, released).When(new Claim("skill", "churn", OtherId.Id, A.Morning)).Then(new NameClaimed("skill", "churn", OtherId.Id, A.Morning));
    }

    [Fact]
    public void Kind_and_name_together_name_the_stream()
    {
        Assert.NotEqual(UniqueName.StreamKey("skill", "a"), UniqueName.StreamKey("skill", "b"));
        Assert.NotEqual(UniqueName.StreamKey("skill", "a"), UniqueName.StreamKey("project", "a"));
    }
}
