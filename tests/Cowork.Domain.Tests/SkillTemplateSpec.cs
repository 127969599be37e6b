using Xunit;

namespace Cowork.Domain.Tests;

public sealed class SkillTemplateSpec
{
    static readonly Dictionary<string, string> Values = new()
    {
        ["a"] = "1",
        ["b_2"] = "two",
        ["_c"] = "{a}",
        ["empty"] = "",
        ["extra"] = "never seen",
    };

    [Theory]
    [InlineData("plain", "", "plain")]
    [InlineData("{a}", "a", "1")]
    [InlineData("by {a} for {b_2}.", "a b_2", "by 1 for two.")]
    [InlineData("{b_2}{a}{a}", "a b_2", "two11")] // each once, sorted
    [InlineData("{_c}", "_c", "{a}")] // what is put in is not looked at again
    [InlineData("{{a}}", "", "{a}")]
    [InlineData("{{{a}}}", "a", "{1}")]
    [InlineData("{{}}", "", "{}")]
    [InlineData("}}{{", "", "}{")]
    [InlineData("{{{{a}}}}", "", "{{a}}")]
    [InlineData("x{empty}y", "empty", "xy")]
    [InlineData("ü{a}😀", "a", "ü1😀")]
    [InlineData("line\n{a}", "a", "line\n1")]
    public void A_template_that_renders(string template, string required, string prompt)
    {
        var (parsed, fault) = SkillTemplate.Parse(template);
        Assert.Null(fault);
        Assert.Equal(required, string.Join(' ', parsed!.RequiredParams));
        Assert.Equal(prompt, parsed.Render(Values).Prompt);
    }

    [Theory]
    [InlineData("{", 1)]
    [InlineData("}", 1)]
    [InlineData("a { b", 3)]
    [InlineData("a } b", 3)]
    [InlineData("{}", 1)]
    [InlineData("{ a }", 1)]
    [InlineData("{a b}", 1)]
    [InlineData("{a.b}", 1)]
    [InlineData("{a[0]}", 1)]
    [InlineData("{a!r}", 1)]
    [InlineData("{a:>10}", 1)]
    [InlineData("{0}", 1)]
    [InlineData("{1a}", 1)]
    [InlineData("{a-b}", 1)]
    [InlineData("{ä}", 1)]
    [InlineData("{a\n}", 1)]
    [InlineData("{a{b}}", 1)]
    [InlineData("{a", 1)]
    [InlineData("a}", 2)]
    [InlineData("{a}}", 4)]
    [InlineData("{{a}", 4)]
    [InlineData("{{{a}}", 6)]
    [InlineData("ok {a} {", 8)]
    public void A_template_that_is_none(string template, int at)
    {
        var (parsed, fault) = SkillTemplate.Parse(template);
        Assert.Null(parsed);
        Assert.Contains($"character {at} ", fault, StringComparison.Ordinal);
    }

    [Fact]
    public void A_parameter_has_at_most_64_characters()
    {
        Assert.NotNull(SkillTemplate.Parse($"{{{new string('a', 64)}}}").Template);
        Assert.Null(SkillTemplate.Parse($"{{{new string('a', 65)}}}").Template);
    }

    [Fact]
    public void All_missing_parameters_are_named_in_order()
    {
        var refused = SkillTemplate.Parse("{zeta} {a} {Beta} {alpha} {zeta}").Template!.Render(Values).Refused!;
        Assert.Equal(("missing_params", 400, "Parameters are missing: Beta, alpha, zeta."), (refused.Code, refused.Status, refused.Detail));
    }

    [Theory]
    [InlineData("{empty}")]
    [InlineData(" {empty}\n\t{empty}")]
    [InlineData("")]
    public void A_prompt_that_says_nothing_is_refused(string template)
    {
        var refused = SkillTemplate.Parse(template).Template!.Render(Values).Refused!;
        Assert.Equal(("blank_prompt", 400), (refused.Code, refused.Status));
    }

    [Theory]
    [InlineData("{a}", 256 * 1024, 1, true)]
    [InlineData("{a}", (256 * 1024) + 1, 1, false)]
    [InlineData("{a}", 128 * 1024, 2, true)] // bytes of UTF-8, not characters
    [InlineData("{a}!", 128 * 1024, 2, false)]
    [InlineData("{a}{a}{a}", 100_000, 1, false)]
    public void A_prompt_has_at_most_256_KiB(string template, int length, int bytesEach, bool fits)
    {
        var (prompt, refused) = SkillTemplate.Parse(template).Template!.Render(new Dictionary<string, string> { ["a"] = new(bytesEach == 1 ? 'x' : 'ü', length) });
        Assert.Equal((fits, fits ? null : "prompt_too_long", fits ? 0 : 422), (prompt is not null, refused?.Code, refused?.Status ?? 0));
    }
}
