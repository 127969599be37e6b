using Xunit;

using static Cowork.Domain.ProjectCommand;
using static Cowork.Domain.ProjectEvent;

namespace Cowork.Domain.Tests;

public sealed class ProjectSpec
{
    static readonly Spec<ProjectKey, ProjectCommand, ProjectEvent, Project> Spec = new(Project.Aggregate);
    static readonly ProjectDefinition Sales = new("Sales", null, ["conn_1"], [new SkillKey("01kdvkjr000000000000000008")], null);
    static readonly ProjectCreated Created = new(A.Project, Sales, A.Morning);

    [Fact]
    public void A_project_is_created_once()
    {
        Spec.Given().When(new Create(A.Project, Sales, A.Morning)).Then(Created);
        Spec.Given(Created).When(new Create(A.Project, Sales, A.Morning)).ThenNothing();
    }

    [Fact]
    public void A_change_is_recorded_whole_and_none_is_nothing()
    {
        Spec.Given(Created).When(new Change(Sales with { Model = "m" }, A.Morning)).Then(new ProjectChanged(Sales with { Model = "m" }, A.Morning));
        Spec.Given(Created).When(new Change(Sales with { ConnectorIds = ["conn_1"] }, A.Morning)).ThenNothing();
        Spec.Given(Created).When(new Change(Sales with { ConnectorIds = ["conn_2"] }, A.Morning)).ThenSome();
    }

    [Fact]
    public void A_deleted_project_is_not_found()
    {
        Spec.Given(Created).When(new Delete(A.Morning)).Then(new ProjectDeleted(A.Morning));
        foreach (var command in (ProjectCommand[])[new Create(A.Project, Sales, A.Morning), new Change(Sales, A.Morning), new Delete(A.Morning)])
        {
            Spec.Given(Created, new ProjectDeleted(A.Morning)).When(command).ThenRefused("not_found");
        }
        Spec.Given().When(new Delete(A.Morning)).ThenRefused("not_found");
    }

    [Fact]
    public void The_built_in_project_is_never_created() =>
        Assert.Equal(409, Spec.Given().When(new Create(ProjectKey.General, Sales, A.Morning)).ThenRefused("project_built_in").Status);
}
